"""``retokenize``: another token set for a built run. Text, ledger and shards of text stay.

The token set and the index of the run are replaced; a later ``build`` of its recipe would put
back what the recipe says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from dataflow.build import KEYS_FILE, known_keys
from dataflow.executor import make_executor
from dataflow.finish import publish
from dataflow.journal import Journal, Record
from dataflow.locks import only_builder, scratch_folder
from dataflow.progress import Progress
from dataflow.reporting import report_run
from dataflow.run import Run, ShardRecords
from dataflow.runner import Runner
from dataflow.store import Store
from dataflow.tasks import Task, finished
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
                _remember(store, [use, *tasks, *energon])
                records = runner.run([use, *tasks, *energon])
            finally:
                executor.close()
            state = "done"
        finally:
            progress.close(state)
        tokenized, described = records[1 : len(tasks) + 1], records[len(tasks) + 1 :]
        shards = [
            ShardRecords(shard.name, shard.pack, record)
            for shard, record in zip(run.shards, tokenized, strict=True)
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
    for record in replaced:
        if record.key not in wanted:
            run.store.delete(journal.path(record.key))
            for output in record.outputs.values():
                if output.path not in stay:
                    run.store.delete(output.path)
    for folder in ("shards", "tokenizer"):
        run.store.remove_empty(folder)
