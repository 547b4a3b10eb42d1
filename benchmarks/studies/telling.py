"""A tally in words, as a table of Markdown."""

from __future__ import annotations

from benchmarks.studies.tally import LEAST_NULLS, Count, Tally
from mixtures.studies.wording import counted, interval, signed

HEADS = ("judgement", "repetitions", "95 % interval", "promised", "kept", "after Holm", "effect")


def told(found: Tally) -> str:
    """What is missing first, then the table, then what the nulls are on average, and
    whether there are enough of them."""
    lines = [f"# {found.study}: {counted(found.planned, 'repetition')}, by {found.metric}", ""]
    if found.complete < found.planned:
        missing = found.planned - found.complete
        lines.append(f"! {counted(missing, 'repetition')} of {found.planned} lost runs.")
    lines += [f"! not tested: {one}" for one in found.untested]
    if lines[-1]:
        lines.append("")
    lines += [_row(HEADS), _row(["---"] * len(HEADS))]
    for count in (*found.effects, found.order, found.nulls):
        if count is not None:
            lines.append(_row(_cells(count)))
    mean = found.null_mean
    if mean is not None:
        lines += ["", f"Null pairs differ by {signed(mean.mean)} on average, 95 % interval "
                  f"{interval(mean.low, mean.high)}, p {mean.p:.2g} over "
                  f"{mean.pairs} pairs."]  # fmt: skip
    if found.nulls is not None and found.nulls.of < LEAST_NULLS:
        lines += ["", f"{counted(found.nulls.of, 'null pair')}: {LEAST_NULLS} or more are needed "
                  "to say how often a difference is found where none is."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _cells(count: Count) -> list[str]:
    return [
        count.what,
        f"{count.found} of {count.of}",
        f"{count.low:.0%} to {count.high:.0%}",
        "–" if count.promised is None else f"{count.promised:.0%}",
        {None: "–", True: "yes", False: "no"}[count.kept],
        "–" if count.corrected is None else str(count.corrected),
        "–" if count.effect is None else signed(count.effect),
    ]


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
