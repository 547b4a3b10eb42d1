"""Duplicates: sizes of clusters, the largest ones, and what each source lost."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataflow.report.charts import bar, columns, lsh_curve
from dataflow.report.clusters import ClusterSizes
from dataflow.report.collect import Tally
from dataflow.report.markup import Safe, join, tag
from dataflow.report.numbers import bytes_, count, exact, percent, plain
from dataflow.report.samples import Samples, clip
from dataflow.report.sections.flow import WIPED_OUT
from dataflow.report.sections.parts import Cell, Column, Row, figure, legend, section, table

FIRST = 10
"""Entries of a list that show at once."""


def duplicates_section(tally: Tally, samples: Samples, lock: Mapping[str, Any]) -> Safe:
    """Cluster sizes, the LSH curve over what was removed, losses by source, largest clusters."""
    _, near = tally.near_sizes.finish()
    _, copies = tally.copy_sizes.finish()
    settings = (lock.get("dedup") or {}).get("near") or {}
    threshold = float(settings.get("threshold", 0.8))
    return section(
        "duplicates",
        "Duplicates",
        [
            "MinHash proposes pairs; a document is dropped only when its word-n-gram Jaccard "
            "similarity to one that is kept, computed exactly, is at least ",
            plain(threshold),
            ". Clusters name what hangs together; nobody is dropped for a neighbour's neighbour.",
        ],
        tag(
            "div",
            tag(
                "div",
                _sizes("Near-duplicate clusters", near, tally.near_sizes, 0),
                _sizes("Texts with exact copies", copies, tally.copy_sizes, 1),
            ),
            _curve(tally, settings, threshold),
            class_="pair",
        ),
        _losses(tally),
        _clusters(samples),
    )


def _sizes(
    title: str,
    sizes: NDArray[np.int64],
    counter: ClusterSizes,
    survivor: int,
) -> Safe:
    sizes = sizes + survivor
    sizes = sizes[sizes > 1]
    if not len(sizes):
        return tag("div", tag("h3", title), tag("p", "There are none.", class_="note good"))
    edges = [2, 3, 4, 5, 9, 17, 33, 65, 129, 257, 513, 1025]
    while edges[-1] <= int(sizes[0]):
        edges.append(edges[-1] * 2 - 1)
    rows = []
    for low, high in pairwise(edges):
        if low > sizes[0]:
            break
        n = int(((sizes >= low) & (sizes < high)).sum())
        label = str(low) if high == low + 1 else f"{low}–{high - 1}"
        rows.append((label, n, f"{exact(n)} of {label} documents"))
    sampled = f" From a sample of 1 in {counter.sampled} clusters." if counter.sampled > 1 else ""
    caption = (
        f"{exact(len(sizes))} groups over {exact(int(sizes.sum()))} documents; the largest has "
        f"{exact(int(sizes[0]))}. Groups by number of documents, heights by square root.{sampled}"
    )
    return tag("div", tag("h3", title), figure(columns(rows, 120, title), caption))


def _curve(tally: Tally, settings: Mapping[str, Any], threshold: float) -> Safe:
    bands, rows = int(settings.get("bands", 14)), int(settings.get("rows", 8))
    found = tally.jaccard.counts[0, :-1].reshape(50, -1).sum(axis=1)
    # The last fine bin holds similarity 1 alone.
    found[-1] += tally.jaccard.counts[0, -1]
    return tag(
        "div",
        tag("h3", "What the signatures propose"),
        figure(
            lsh_curve(bands, rows, threshold, found),
            [
                legend(("curve", "chance to be proposed"), ("drop", "dropped documents")),
                f" by Jaccard similarity; {bands} bands of {rows} rows. Nothing below the line "
                "is dropped.",
            ],
        ),
    )


def _losses(tally: Tally) -> Safe:
    heads = [
        Column("Source", False),
        Column("Passed the rules"),
        Column("Exact copies"),
        Column("Near duplicates"),
        Column("Dropped", False, hint="Of the documents that passed the rules"),
        Column("Text dropped"),
    ]
    rows = []
    for name, totals in sorted(tally.sources.items(), key=lambda i: (-i[1].read.bytes, i[0]))[:60]:
        passed = totals.read.documents - totals.dropped("decide").documents
        gone = totals.dropped("dedup")
        exact_ = totals.drops.get(("dedup", "exact"))
        near = totals.drops.get(("dedup", "near"))
        share = gone.documents / passed if passed else 0.0
        badge = [" ", tag("span", "over half dropped", class_="badge bad")]
        exact_n, near_n = (part.documents if part else 0 for part in (exact_, near))
        rows.append(
            Row(
                [
                    Cell(
                        [
                            clip(name, 60),
                            badge if share > WIPED_OUT else None,
                        ],
                        name,
                    ),
                    Cell(count(passed), passed),
                    Cell(count(exact_n), exact_n),
                    Cell(count(near_n), near_n),
                    Cell(
                        [bar(gone.documents, passed, "drop"), " ", percent(gone.documents, passed)],
                        share,
                        "with-bar",
                    ),
                    Cell(bytes_(gone.bytes), gone.bytes),
                ]
            )
        )
    return join(
        tag("h3", "What each source lost"),
        table(heads, rows, "Documents dropped as duplicates, by source."),
    )


def _clusters(samples: Samples) -> Safe:
    near = [
        tag(
            "details",
            tag(
                "summary",
                tag("b", f"{exact(cluster['n'])} documents"),
                " ",
                tag("bdi", cluster["pairs"][0]["kept"]["u"], class_="uri")
                if cluster["pairs"]
                else tag("span", "exact copies only", class_="dim"),
            ),
            tag("div", class_="samples", data_cluster=i),
        )
        for i, cluster in enumerate(samples.near)
    ]
    copies = [
        tag(
            "details",
            tag(
                "summary",
                tag("b", f"{exact(group['n'])} copies"),
                " ",
                tag("bdi", group["of"][0]["u"], class_="uri") if group["of"] else None,
            ),
            tag("div", class_="samples", data_copies=i),
        )
        for i, group in enumerate(samples.copies)
    ]
    return tag(
        "div",
        _folded("The largest near-duplicate clusters", near),
        _folded("The texts with most copies", copies),
        class_="stack",
    )


def _folded(title: str, items: list[Safe]) -> Safe | None:
    """A list of which the later entries open on demand."""
    if not items:
        return None
    more = items[FIRST:]
    rest = tag("details", tag("summary", f"{len(more)} more"), *more) if more else None
    return tag("div", tag("h3", title), *items[:FIRST], rest)
