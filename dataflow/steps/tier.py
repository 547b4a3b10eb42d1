"""``tier``: the index of a shard with the quality tiers of its documents. Nothing else is read or
written: shards stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.roots import hex_root, rows_root
from dataflow.steps.grade import NO_TIER, TIERS
from dataflow.tables import INDEX
from dataflow.tasks import Step, StepContext
from quality.tiers import UNSCORED


def run(context: StepContext) -> dict[str, Any]:
    """Write ``index``: that of ``tokenize`` with other tiers."""
    grade = context.input("grade")
    table = context.read_table(context.input("index"), "index")
    first = grade.stats["starts"][context.params["shard"]]
    codes = TIERS.open(context, grade).read("tier", first, first + table.num_rows)
    names = pa.array([*grade.stats["names"], UNSCORED])
    tiers = names.take(pa.array(np.where(codes == NO_TIER, len(names) - 1, codes)))
    place = table.schema.get_field_index("tier")
    table = table.set_column(place, INDEX.schema.field("tier"), tiers)
    with context.create_table("index", "index", INDEX, kind="index") as out:
        out.write(table)
    return {
        "rows": table.num_rows,
        "tokens": int(pc.sum(table["tokens"]).as_py() or 0),
        "root": hex_root(rows_root(table.select(["doc_id", "tier"]))),
    }


STEP = Step("tier", run)
