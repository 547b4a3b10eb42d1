"""Whether the tiers of a run's index are those that its scores and its cuts come to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from dataflow.finish import tiers_root
from dataflow.recipe.models import Tiers
from dataflow.roots import add_roots, hex_root, rows_root
from dataflow.run import PartitionRecords, Run, ShardRecords
from dataflow.steps.grade import read_cuts
from dataflow.tables import INDEX, TableError, check_table
from quality.language import UNDETERMINED
from quality.tiers import UNSCORED, Cut, Group, Grouped, Way, first_known, tier_codes


def check_tiered(run: Run, shard: ShardRecords, untiered: pa.Table, problems: list[str]) -> None:
    """The shard's index differs from ``untiered`` in tiers alone, and has the root it claims."""
    assert shard.tier is not None, "asked for shards of a run with tiers"
    path = shard.tier.outputs["index"].path
    table = run.table(shard.tier, "index")
    try:
        check_table(table.schema, INDEX, path)
    except TableError as error:
        problems.append(str(error))
        return
    if not table.drop_columns(["tier"]).equals(untiered.drop_columns(["tier"])):
        problems.append(f"{path}: differs in more than tiers from the index of `tokenize`")
    root = hex_root(rows_root(table.select(["doc_id", "tier"])))
    if root != shard.tier.stats["root"]:
        problems.append(f"{path}: found tiers of root {root}, expected {shard.tier.stats['root']}")


def check_scorers(run: Run, problems: list[str]) -> None:
    """One scorer has scored all texts."""
    found = set()
    for partition in run.partitions:
        if partition.reward is not None:
            with run.store.open(partition.reward.outputs["signals"].path) as stream:
                metadata = pq.read_schema(stream).metadata
            found.add(metadata.get(b"leyden.scorer", b"nobody").decode())
    if len(found) > 1:
        problems.append(f"signals/reward: found scores of {', '.join(sorted(found))}, expected one")


def check_tiers(run: Run, problems: list[str]) -> None:
    """Every kept document has the tier of its score, computed afresh. Memory: the columns of one
    partition."""
    assert run.grade is not None, "asked for a run with tiers"
    lock = yaml.safe_load(run.store.read("recipe.lock.yaml"))
    ways = [Way(tuple(way.items())) for way in Tiers.model_validate(lock["tiers"]).by]
    names, cuts = read_cuts(run.table(run.grade, "cuts"))
    roots = [_root(run, partition, ways, names, cuts) for partition in run.partitions]
    found = hex_root(add_roots(roots))
    for what, claimed in (
        ("the index has", tiers_root(run.shards)),
        ("the run claims", run.header["tiers_root"]),
    ):
        if found != claimed:
            problems.append(f"tiers: scores and cuts come to root {found}, {what} {claimed}")


def _root(
    run: Run,
    partition: PartitionRecords,
    ways: list[Way],
    names: list[str],
    cuts: dict[Group, Cut],
) -> int:
    """The root of the tiers of a partition's kept documents."""
    ledger = run.table(partition.settle, "dispositions", ["doc_id", "source", "kept"])
    wanted = {name for way in ways for name in way.signals} | {"lang.label"}
    columns = {"doc_id": ledger["doc_id"], "source": ledger["source"]}
    for record, role in run.signals(partition):
        table = run.table(record, role)
        columns |= {name: table[name] for name in table.column_names if name in wanted}
    table = pa.table(columns).filter(ledger["kept"])
    if not table.num_rows:
        return 0
    way, score = first_known(ways, table)
    language = pc.fill_null(table["lang.label"], UNDETERMINED)
    codes = tier_codes(Grouped(way, table["source"], language), score, cuts)
    tiers = pa.array([*names, UNSCORED]).take(pa.array(np.where(codes < 0, len(names), codes)))
    return rows_root(pa.table({"doc_id": table["doc_id"], "tier": tiers}))
