"""``categories``: what there is of every category, and what rules take of it, before anything is
packed. Categories are those of ``reward.category``; shares are of bytes of text, as documents that
rules drop never have tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.tasks import Step, StepContext

SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("other_documents", pa.int64(), nullable=False),
        pa.field("other_bytes", pa.int64(), nullable=False),
        pa.field("reward_documents", pa.int64(), nullable=False),
        pa.field("reward_bytes", pa.int64(), nullable=False),
    ],
    metadata={"leyden.table": "reward/categories", "leyden.version": "1"},
)
"""A source and a category (null: unscored) a row: the documents read and their bytes; what other
rules drop of them; and what rules that name ``reward.*`` drop. The first rule that a document fails
drops it."""


def run(context: StepContext) -> dict[str, Any]:
    """Write ``categories``. Memory: a row a document of one partition."""
    counts: dict[tuple[str, str | None], np.ndarray] = {}
    for number, source in enumerate(context.params["sources"]):
        rewards, decides = context.inputs("reward"), context.inputs("decide")
        table = context.read_table(rewards[number], "signals", ["reward.category"])
        decided = context.read_arrays(decides[number], "decisions")
        rule, length = decided["rule"].to_numpy(), decided["text_bytes"].to_numpy()
        by_reward = np.isin(rule, np.array(context.params["rules"][source], np.int64))
        encoded = (
            table["reward.category"].combine_chunks().dictionary_encode(null_encoding="encode")
        )
        names = encoded.dictionary.to_pylist()
        codes = encoded.indices.to_numpy().astype(np.int64)
        drops = (np.ones(len(rule), bool), (rule >= 0) & ~by_reward, by_reward)
        for code, name in enumerate(names):
            found = counts.setdefault((source, name), np.zeros(6, np.int64))
            for place, mask in enumerate(drops):
                mine = mask & (codes == code)
                found[2 * place] += int(mine.sum())
                found[2 * place + 1] += int(length[mine].sum())
    rows = [
        {
            "source": source,
            "category": name,
            **dict(zip(SCHEMA.names[2:], map(int, n), strict=True)),
        }
        for (source, name), n in sorted(counts.items(), key=lambda i: (i[0][0], i[0][1] or ""))
    ]
    with context.create_table(
        "categories", "reward", SCHEMA, kind="reward", name="categories"
    ) as out:
        out.write(pa.Table.from_pylist(rows, schema=SCHEMA))
    totals: dict[str, list[int]] = {}
    for row in rows:
        of = totals.setdefault(row["category"] or "", [0, 0])
        of[0] += row["bytes"] - row["other_bytes"]
        of[1] += row["reward_bytes"]
    return {"rows": sum(row["documents"] for row in rows), "bytes": totals}


STEP = Step("categories", run)
