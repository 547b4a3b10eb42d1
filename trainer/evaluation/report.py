"""What an evaluation found, as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mixtures.amounts import format_tokens
from trainer.evaluation.corpus_loss import CorpusLoss, Group
from trainer.evaluation.multiple_choice import METRICS, MultipleChoice
from trainer.evaluation.needles import CHANCE, Cell
from trainer.evaluation.pictures import Part, Pictures

NONE = "–"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns, the first to the left and the others to the right."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def loss_tables(loss: CorpusLoss) -> str:
    """Sources, length classes, and the loss along documents."""

    def row(group: Group) -> list[str]:
        bits = group.bits_per_byte
        return [
            group.name, str(group.documents), format_tokens(group.tokens), str(group.loss),
            NONE if bits is None else str(bits),
        ]  # fmt: skip

    heads = ["documents", "tokens", "nats/token", "bits/byte"]
    parts = [
        table(["held out", *heads], map(row, [loss.all, *loss.sources])),
        table([f"length (L1 {loss.l1:,})", *heads], map(row, loss.lengths)),
        table(["position", *heads[:3]], (row(group)[:4] for group in loss.positions)),
    ]
    unread = sorted(set(loss.available) - {group.name for group in loss.sources})
    if unread:
        parts.append(f"not read within the budget: {', '.join(unread)}")
    if loss.unseen:
        parts.append(f"with images that are not shown, or longer than --longest: {loss.unseen:,}")
    return "\n\n".join(parts)


def choices_table(choices: MultipleChoice, name: str) -> str:
    """The metrics of a file's questions, and of its kinds and sources where there are several."""

    def row(name: str, one: MultipleChoice) -> list[str]:
        means = (str(getattr(one, metric)) for metric in METRICS)
        return [name, str(len(one.questions)), *means, f"{one.chance:.4f}"]

    rows = [row(name, choices)]
    for column, groups in choices.groups.items():
        if len(groups) > 1:
            rows += [row(f"  {column} {name}", group) for name, group in groups.items()]
    return table(["choices", "questions", *METRICS, "chance"], rows)


def pictures_tables(pictures: Pictures) -> str:
    """Groups, families and all: accuracy in each condition, what the picture gives; then, of
    written answers, similarity; then the right answer's log-probability a byte."""
    parts = [*pictures.groups, *pictures.families, pictures.all]
    conditions, baselines = list(pictures.all.scores), list(pictures.all.gains)
    chosen = pictures.chosen
    splits = ", ".join(f"{count:,} {split}" for split, count in chosen.splits.items())
    heads = [*conditions, *(f"above {name}" for name in baselines)]

    def row(part: Part, field: str) -> list[str]:
        scores = (getattr(part.scores[name], field) for name in conditions)
        gains = (getattr(part.gains[name], field) for name in baselines)
        return [*(f"{score.value:.3f}" for score in scores), *map(str, gains)]

    tables = [
        table(
            ["accuracy", "questions", "chance", *heads],
            ([p.name, str(p.questions), f"{p.chance:.3f}", *row(p, "accuracy")] for p in parts),
        )
    ]
    written = [p for p in parts if p.scores[conditions[0]].similarity is not None]
    if written:
        tables.append(
            table(
                ["similarity of written answers", *heads],
                ([p.name, *row(p, "similarity")] for p in written),
            )
        )
    tables.append(
        table(
            ["nats a byte of the right answer", *heads],
            ([p.name, *row(p, "log_prob_per_byte")] for p in parts),
        )
    )
    told = (
        f"{len(chosen.questions):,} questions, balanced, out of {chosen.asked_of:,} on samples of "
        f"these layouts: {splits}; intervals: 95 %, over pictures"
    )
    return "\n\n".join([*tables, told])


def needles_tables(cells: Sequence[Cell]) -> str:
    """A table for each kind: lengths down, depths across; exact and chosen in each cell."""
    parts = []
    for kind in dict.fromkeys(cell.kind for cell in cells):
        mine = [cell for cell in cells if cell.kind == kind]
        depths = list(dict.fromkeys(cell.depth for cell in mine))
        by_place = {(cell.length, cell.depth): cell for cell in mine}
        heads = [kind, *("all" if d is None else f"depth {d:.0%}" for d in depths)]
        rows = []
        for length in dict.fromkeys(cell.length for cell in mine):
            found = [by_place[length, depth] for depth in depths]
            rows.append(
                [f"{length:,}", *(f"{c.exact.value:.2f} {c.chosen.value:.2f}" for c in found)]
            )
        parts.append(table(heads, rows))
    parts.append(f"exact, and chosen among wrong answers (chance {CHANCE:.2f})")
    return "\n\n".join(parts)
