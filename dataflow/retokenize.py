"""``retokenize``: another token set for a built run. Text, ledger and shards of text stay.

The token set and the index of the run are replaced; a later ``build`` of its recipe would put
back what the recipe says.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson
import yaml

from dataflow.build import KEYS_FILE, known_keys
from dataflow.executor import make_executor
from dataflow.finish import publish
from dataflow.graph import ORDER_MEMORY
from dataflow.journal import Journal, Record
from dataflow.locks import only_builder, scratch_folder
from dataflow.progress import Progress
from dataflow.recipe.models import Tiers
from dataflow.reporting import report_run
from dataflow.run import Run, ShardRecords
from dataflow.runner import Runner
from dataflow.store import Store
from dataflow.tasks import Task, finished
from dataflow.tiertasks import tier_tasks
from dataflow.tokens import energon_tasks, tokenize_task, use_tokenizer


def retokenize(store: Store, tokenizer: str | Path, *, workers: int = 0) -> dict[str, Any]:
    """Write the token set of ``tokenizer`` for a finished run.

    Returns
    -------
    ``tokenizer`` (hash), ``folder``, ``tokens``, ``logical_root``, ``file_root``.

    Raises
    ------
    RunError
        If the run folder holds no finished run.
    TokenizerError
        If the tokenizer cannot be read.
    """
    run = Run.load(store)
    use = use_tokenizer(tokenizer)
    tiers = _tiers(run)
    splits = [shard.pack.stats["split"] for shard in run.shards]
    tasks = [
        tokenize_task(
            shard.name,
            shard.pack.stats["split"],
            use,
            {
                "content": (finished(shard.pack),),
                "index": (finished(shard.tokenize),),
            },
            shard.pack.stats["text_bytes"],
            tiered=tiers is not None,
        )
        for shard in run.shards
    ]
    with only_builder(store), scratch_folder(store) as scratch:
        progress = Progress(store, workers)
        state = "failed"
        try:
            executor = make_executor(workers)
            try:
                runner = Runner(store, executor, progress, scratch)
                content = [finished(shard.pack) for shard in run.shards]
                energon = energon_tasks(splits, content, tasks)
                tiered = _tier_tasks(run, tiers, tasks)
                _remember(store, [use, *tasks, *energon, *tiered])
                records = runner.run([use, *tasks, *energon, *tiered])
            finally:
                executor.close()
            state = "done"
        finally:
            progress.close(state)
        first, grade = len(tasks) + 1, len(tasks) + 1 + len(energon)
        tokenized, described = records[1:first], records[first:grade]
        shards = [
            ShardRecords(shard.name, shard.pack, record, tier)
            for shard, record, tier in zip_longest(run.shards, tokenized, records[grade + 1 :])
        ]
        header = publish(
            store,
            run.header["name"],
            run.partitions,
            shards,
            records[0],
            run.lookup,
            *described,
            repetition=run.repetition,
            categories=run.categories,
            grade=records[grade] if tiered else None,
        )
        _forget(run, records)
        report_run(store)
    return {
        "tokenizer": records[0].stats["hash"],
        "folder": f"shards/tokens-{records[0].stats['hash']}",
        "tokens": sum(record.stats["tokens"] for record in tokenized),
        "logical_root": header["logical_root"],
        "file_root": header["file_root"],
    }


def _tiers(run: Run) -> Tiers | None:
    """The tiers of the run's recipe."""
    wanted = yaml.safe_load(run.store.read("recipe.lock.yaml")).get("tiers")
    return None if run.grade is None else Tiers.model_validate(wanted)


def _tier_tasks(run: Run, wanted: Tiers | None, tokenized: list[Task]) -> list[Task]:
    """The run's tiers anew: other tokens are other shares of them. ``grade`` comes first."""
    if wanted is None:
        return []
    signals = {
        "reward": [finished(p.reward) for p in run.partitions if p.reward is not None],
        "image_reward": [
            finished(p.image_reward) for p in run.partitions if p.image_reward is not None
        ],
    }
    found = tier_tasks(
        wanted, signals, len(run.partitions), finished(run.lookup), tokenized, ORDER_MEMORY
    )
    return [found.grade, *found.tiers]


def _remember(store: Store, tasks: list[Task]) -> None:
    """Let a later build's sweep know of the new outputs."""
    known = known_keys(store) | {task.key for task in tasks}
    store.write(KEYS_FILE, orjson.dumps(sorted(known)))


def _forget(run: Run, records: list[Record]) -> None:
    """Delete the token set and the index that those of ``records`` replace."""
    journal = Journal(run.store)
    wanted = {record.key for record in records}
    # The same tokenizer again writes files of the same names.
    stay = {output.path for record in records for output in record.outputs.values()}
    replaced = [run.tokenizer, *(shard.tokenize for shard in run.shards), *run.energon]
    replaced += [shard.tier for shard in run.shards if shard.tier is not None]
    replaced += [run.grade] if run.grade is not None else []
    for record in replaced:
        if record.key not in wanted:
            run.store.delete(journal.path(record.key))
            for output in record.outputs.values():
                if output.path not in stay:
                    run.store.delete(output.path)
    for output in (output for record in records for output in record.outputs.values()):
        if output.temporary:
            run.store.delete(output.path)
    for folder in ("shards", "tokenizer", "work"):
        run.store.remove_empty(folder)
