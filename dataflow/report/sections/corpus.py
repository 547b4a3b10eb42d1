"""What the corpus is made of: languages and lengths before and after, tokens by source and tier."""

from __future__ import annotations

from dataflow.report.charts import bar, columns, histogram, stacked_bar
from dataflow.report.collect import Flow, Tally
from dataflow.report.markup import Safe, tag
from dataflow.report.numbers import bytes_, compact, count, exact, percent, size
from dataflow.report.samples import clip
from dataflow.report.scales import coarsen
from dataflow.report.sections.parts import Cell, Column, Row, figure, legend, section, table

MAX_ROWS = 24


def corpus_section(tally: Tally) -> Safe:
    """Languages, lengths, tokens, splits and licences."""
    return section(
        "corpus",
        "What the corpus is made of",
        "The same documents before and after: which languages and lengths the rules favour, and "
        "where the tokens are.",
        tag("div", _lengths(tally), _token_lengths(tally), class_="pair"),
        tag("h3", "Tokens by source and tier"),
        _tiers(tally),
        tag(
            "div",
            tag("div", tag("h3", "Languages"), _languages(tally)),
            tag(
                "div",
                tag("h3", "Split"),
                _shares(tally.splits, "Split", "Kept documents by split."),
                tag("h3", "Licences"),
                _shares(tally.licenses, "Licence", "Kept documents by licence."),
            ),
            class_="pair",
        ),
    )


def _lengths(tally: Tally) -> Safe:
    coarse = coarsen(tally.lengths, bins=48)
    if coarse is None:
        return tag("p", "There are no documents.", class_="note")
    # Kept documents stand at the bottom of each bar.
    flipped = type(coarse)(
        coarse.edges, coarse.counts[::-1], coarse.below[::-1], coarse.above[::-1], coarse.log
    )
    picture = histogram(
        flipped,
        "integer",
        labels=("kept", "dropped"),
        describe="Histogram of text lengths before and after",
        show=size,
    )
    return tag(
        "div",
        tag("h3", "Length of documents"),
        figure(
            picture,
            [
                legend(("kept", "kept"), ("drop", "dropped")),
                " bytes of extracted text; heights by square root",
            ],
        ),
    )


def _token_lengths(tally: Tally) -> Safe:
    documents, tokens = tally.token_classes
    used = [k for k in range(64) if documents[k]]
    if not used:
        return tag("p", "No document was tokenized.", class_="note")
    first, last = max(used[0], 4), max(used[-1], 4)
    rows = []
    for k in range(first, last + 1):
        n = int(documents[: k + 1].sum() if k == first else documents[k])
        t = int(tokens[: k + 1].sum() if k == first else tokens[k])
        title = f"{exact(n)} documents of at most {exact(2**k)} tokens: {exact(t)} tokens"
        rows.append((f"≤{_power(k)}", t, title))
    long = int(tokens[14:].sum())
    whole = int(tokens.sum())
    return tag(
        "div",
        tag("h3", "Tokens by length of document"),
        figure(
            columns(rows, 190, "Tokens in documents of each length"),
            f"Tokens in documents up to each length (powers of two). {percent(long, whole)} of all "
            "tokens are in documents longer than 8,192 tokens.",
        ),
    )


def _power(k: int) -> str:
    return str(2**k) if k < 10 else f"{2 ** (k - 10)}K" if k < 20 else f"{2 ** (k - 20)}M"


def _tiers(tally: Tally) -> Safe:
    tiers = sorted({tier for _, tier in tally.tiers})
    several = tiers if len(tiers) > 1 else []
    only = f" All of it is of tier “{clip(tiers[0], 40)}”." if len(tiers) == 1 else ""
    whole = sum(flow.bytes for flow in tally.tiers.values())
    heads = [
        Column("Source", False),
        Column("Documents"),
        Column("Tokens"),
        Column("Of all", False),
        *(Column(clip(tier, 30)) for tier in several),
        Column("Bytes per token"),
    ]
    rows = []
    ordered = sorted(tally.sources.items(), key=lambda i: (-i[1].tokens, i[0]))
    for name, totals in ordered[:60]:
        parts = [tally.tiers.get((name, tier), Flow()).bytes for tier in tiers]
        ratio = totals.kept.bytes / totals.tokens if totals.tokens else 0.0
        split = stacked_bar(
            [
                (part, f"t{i % 8}", f"{tier}: {exact(part)}")
                for i, (part, tier) in enumerate(zip(parts, tiers, strict=True))
            ]
        )
        share = split if several else bar(totals.tokens, whole)
        rows.append(
            Row(
                [
                    Cell(clip(name, 60), name),
                    Cell(count(totals.kept.documents), totals.kept.documents),
                    Cell(count(totals.tokens), totals.tokens),
                    Cell([share, " ", percent(totals.tokens, whole)], totals.tokens, "with-bar"),
                    *(Cell(count(part), part) for part in (parts if several else ())),
                    Cell(f"{ratio:.2f}" if ratio else "–", ratio),
                ]
            )
        )
    return table(heads, rows, f"Tokens of the index by source and quality tier.{only}")


def _languages(tally: Tally) -> Safe:
    ordered = sorted(tally.languages.items(), key=lambda i: (-i[1][0].documents, i[0]))
    rows = []
    for label, (before, after) in ordered[:MAX_ROWS]:
        rows.append(
            Row(
                [
                    Cell(clip(label, 20), label),
                    Cell(count(before.documents), before.documents),
                    Cell(count(after.documents), after.documents),
                    Cell(
                        [
                            bar(after.documents, before.documents),
                            " ",
                            percent(after.documents, before.documents),
                        ],
                        after.documents / max(before.documents, 1),
                        "with-bar",
                    ),
                    Cell(bytes_(after.bytes), after.bytes),
                ]
            )
        )  # fmt: skip
    heads = [
        Column("Language", False),
        Column("Read"),
        Column("Kept"),
        Column("Share kept", False),
        Column("Text"),
    ]
    more = len(ordered) - MAX_ROWS
    tail = f" {more} rarer ones are left out." if more > 0 else ""
    return table(heads, rows, f"Documents by language, before and after.{tail}")


def _shares(totals: dict[str, Flow], name: str, caption: str) -> Safe:
    ordered = sorted(totals.items(), key=lambda i: (-i[1].bytes, i[0]))
    whole = sum(flow.bytes for flow in totals.values())
    rows = [
        Row(
            [
                Cell(tag("bdi", clip(label, 40), title=clip(label, 400)), label),
                Cell(count(flow.documents), flow.documents),
                Cell(count(flow.bytes), flow.bytes),
                Cell([bar(flow.bytes, whole), " ", percent(flow.bytes, whole)], flow.bytes,
                     "with-bar"),
            ]
        )
        for label, flow in ordered[:16]
    ]  # fmt: skip
    heads = [Column(name, False), Column("Documents"), Column("Tokens"), Column("Of all", False)]
    more = len(ordered) - 16
    tail = f" {compact(more)} smaller ones are left out." if more > 0 else ""
    return table(heads, rows, caption + tail)
