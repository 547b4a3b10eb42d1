"""How tags are spread: what the report shows of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Tail:
    """Of a distribution: tagged and untagged pairs, different tags, tags of a single pair, and how
    many of the most frequent tags hold at least half, 90 % and 99 % of the tagged pairs.
    """

    tagged: int
    untagged: int
    tags: int
    singletons: int
    half: int
    ninety: int
    ninety_nine: int


def tag_distribution(labels: pa.Table) -> pa.Table:
    """Tags by count, most frequent first, then by name: ``tag``, ``count`` int64, ``share`` and
    ``cumulative`` share (float64) of the tagged pairs. ``labels`` has the columns of ``TAGS``.
    """
    tags = pc.drop_null(labels["tag"])
    counted = pc.value_counts(tags)
    table = pa.table(
        {
            "tag": counted.field("values").cast(pa.string()),
            "count": counted.field("counts").cast(pa.int64()),
        }
    ).sort_by([("count", "descending"), ("tag", "ascending")])
    counts = table["count"].to_numpy()
    total = max(1, len(tags))
    return table.append_column("share", pa.array(counts / total, pa.float64())).append_column(
        "cumulative", pa.array(np.cumsum(counts) / total, pa.float64())
    )


def long_tail(labels: pa.Table) -> Tail:
    """The distribution of tags in a few numbers."""
    table = tag_distribution(labels)
    counts = table["count"].to_numpy()
    sums = np.cumsum(counts)
    tagged = int(counts.sum())

    def holding(percent: int) -> int:
        return int(np.searchsorted(sums * 100, tagged * percent) + 1) if tagged else 0

    return Tail(
        tagged=tagged,
        untagged=labels.num_rows - tagged,
        tags=len(counts),
        singletons=int((counts == 1).sum()),
        half=holding(50),
        ninety=holding(90),
        ninety_nine=holding(99),
    )
