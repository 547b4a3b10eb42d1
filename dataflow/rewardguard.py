"""What a build says of its scores before it packs: texts without any, and categories that go."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dataflow.journal import Record
from dataflow.locks import BuildError
from dataflow.recipe.models import Reward
from quality.vanishing import Vanishing, vanishing

_log = logging.getLogger(__name__)


def check_scored(reward: Reward, records: Sequence[Record]) -> None:
    """Warn of texts that a file of scores does not have.

    Raises
    ------
    BuildError
        If it has none of them, or two scorers have scored the run.
    """
    scorers = sorted({record.stats["scorer"] for record in records})
    if len(scorers) > 1:
        raise BuildError(
            f"signals/reward: found scores of {', '.join(scorers)}, expected those of one scorer; "
            "build again into another folder"
        )
    read, scored = (sum(record.stats[name] for record in records) for name in ("rows", "scored"))
    if scored == read:
        return
    if not scored:
        raise BuildError(
            f"reward.scores: found no score for any of {read:,} documents in {reward.scores}, "
            "expected the scores of this corpus; `python -m quality score RUN --out FILE` makes "
            "them"
        )
    _log.warning(
        "reward.scores: %s has no score for %d of %d documents; rules on reward.* do not drop "
        "them, and they are of tier unscored",
        *(reward.scores, read - scored, read),
    )


def check_categories(reward: Reward, categories: Record) -> None:
    """Warn of categories of which rules on ``reward.*`` take nearly all.

    Raises
    ------
    BuildError
        If there are any and the recipe wants the build to stop.
    """
    found = lost(reward, categories.stats["bytes"])
    if not found:
        return
    told = (
        f"rules on reward.* take more than {100 * reward.guard.loss:g} % of "
        f"{'a category' if len(found) == 1 else f'{len(found)} categories'}: "
        + "; ".join(one.describe() for one in found)
    )
    if reward.guard.action == "stop":
        raise BuildError(f"{told}; loosen the rules, leave it to tiers, or raise reward.guard.loss")
    _log.warning("%s", told)


def lost(reward: Reward, totals: dict[str, list[int]]) -> list[Vanishing]:
    """The categories that rules take away, by bytes of text.

    ``totals``: by category (empty: unscored) the bytes that other rules leave, and those of them
    that rules on ``reward.*`` drop.
    """
    before = {name: whole for name, (whole, _) in totals.items() if name}
    after = {name: whole - dropped for name, (whole, dropped) in totals.items() if name}
    return vanishing(before, after, loss=reward.guard.loss, share=reward.guard.share)
