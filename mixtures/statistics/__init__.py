"""Statistics of arrays of scores, one of each item and run: no other part of the project is needed.

``compare`` (and ``items_only``) tests two arms; ``holm``, ``benjamini_hochberg`` and ``dunnett``
many of them; ``bootstrap`` is a second interval; ``power``, ``detectable``, ``detectable_grid``
and ``needed`` say what a design sees; ``discriminative_power`` whether a metric tells good from
bad; ``equivalence`` whether an effect is no larger than a margin; ``turning`` where a loss turns
under repetition, and ``rise_differences`` what that costs one tier more than another.
"""

from mixtures.statistics.comparison import Compared, compare, items_only
from mixtures.statistics.components import Components
from mixtures.statistics.detection import detectable, detectable_grid, needed, power
from mixtures.statistics.discrimination import Discriminative, discriminative_power
from mixtures.statistics.equivalence import Equivalence, equivalence
from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.multiple import benjamini_hochberg, dunnett, holm
from mixtures.statistics.resampling import Interval, bootstrap
from mixtures.statistics.rises import RiseDifference, rise_differences
from mixtures.statistics.turning_data import as_runs
from mixtures.statistics.turning_points import Estimate, Turning, turning, turning_difference

__all__ = [
    "Compared",
    "Components",
    "Discriminative",
    "Equivalence",
    "Estimate",
    "Interval",
    "RiseDifference",
    "StatisticsError",
    "Turning",
    "as_runs",
    "benjamini_hochberg",
    "bootstrap",
    "compare",
    "detectable",
    "detectable_grid",
    "discriminative_power",
    "dunnett",
    "equivalence",
    "holm",
    "items_only",
    "needed",
    "power",
    "rise_differences",
    "turning",
    "turning_difference",
]
