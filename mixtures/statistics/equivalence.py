"""Whether an effect is no larger than a margin: two one-sided tests."""

from __future__ import annotations

from dataclasses import dataclass

from mixtures.statistics.comparison import Compared
from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.hypotheses import as_share, p_values


@dataclass(frozen=True)
class Equivalence:
    """The two tests of a margin.

    Attributes
    ----------
    p: of both tests, the greater of the two: that the effect lies outside -margin to margin.
    p_not_less: that the effect is -margin or below: small says "not less by more than the margin".
    p_not_greater: that the effect is margin or above.
    equivalent: ``p < alpha``.
    """

    margin: float
    alpha: float
    p: float
    p_not_less: float
    p_not_greater: float
    equivalent: bool

    @property
    def not_less(self) -> bool:
        """Whether the treatment is not below the baseline by more than the margin."""
        return self.p_not_less < self.alpha

    @property
    def not_greater(self) -> bool:
        """Whether the treatment is not above the baseline by more than the margin."""
        return self.p_not_greater < self.alpha


def equivalence(compared: Compared, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987)
    of a comparison's effect, by its standard error and degrees of freedom."""
    size = as_share(alpha, "alpha")
    if not margin > 0:
        raise StatisticsError(f"margin: found {margin}, expected an effect above 0")
    if compared.se == 0:
        return Equivalence(margin, size, 0.0, 0.0, 0.0, True)
    lower = float(p_values((compared.effect + margin) / compared.se, compared.df, "greater"))
    upper = float(p_values((compared.effect - margin) / compared.se, compared.df, "less"))
    worst = max(lower, upper)
    return Equivalence(margin, size, worst, lower, upper, worst < size)
