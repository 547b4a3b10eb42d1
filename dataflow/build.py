"""``build``: a recipe becomes a run folder. The same command goes on after any interruption."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from dataflow import graph
from dataflow.costs import summarise
from dataflow.executor import make_executor
from dataflow.finish import publish
from dataflow.graph import PartitionTasks, ShardTasks
from dataflow.indexplaces import INDEX_FOLDER, UNTIERED_FOLDER, place_indexes
from dataflow.journal import RECORDS, Journal, Record
from dataflow.locks import BuildError, only_builder, scratch_folder
from dataflow.progress import Progress
from dataflow.recipe import Plans, Recipe, lock, plan_recipe, versions
from dataflow.reporting import report_run
from dataflow.rewardguard import check_categories, check_scored
from dataflow.rewardtasks import categories_task, scorer_of
from dataflow.run import PartitionRecords, Run, ShardRecords
from dataflow.runner import Runner
from dataflow.sources.spec import Partition
from dataflow.steps.split import NAMES
from dataflow.store import Store
from dataflow.tasks import Task
from dataflow.tokens import energon_tasks, token_tasks

FIXED_NAMES = ("pack", "tokenize", "energon")
"""Steps whose outputs have names without a key, so that others find them."""

PARTITION_STEPS = ("read", "scan", "language", "reward", "images", "decide")
"""Steps whose outputs hang on their own partition alone."""

OUTPUT_FOLDERS = (
    "documents",
    "images",
    "signals",
    "ledger",
    "index",
    "reward",
    "tiers",
    "shards",
    "tokenizer",
    "work",
)
"""Folders of a run that belong to its build: files in them are the run's or nobody's."""

KEYS_FILE = "journal/keys.json"
"""Keys of all tasks whose outputs may lie in the run folder: what a sweep looks through."""

_LIMITS_HINT = "; its `images` sets the limits of size: min_side, max_side, max_aspect"
_LIMITED = ("image-too-small", "image-too-large", "image-aspect")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """What a build came to."""

    header: dict[str, Any]
    summary: dict[str, Any]
    executed: int
    """Tasks that ran; 0 when everything was there already."""


def build(
    recipe_path: str | Path,
    out: str | None = None,
    *,
    workers: int = 0,
    address: str | None = None,
    show: bool = True,
    storage: dict[str, str] | None = None,
) -> Built:
    """Build the corpus of a recipe.

    Parameters
    ----------
    recipe_path : a recipe, or the ``recipe.lock.yaml`` of a run.
    out : the run folder, a local path or a URI; default ``runs/NAME``.
    workers : Ray actors; 0 runs everything in this process.
    address : a Ray cluster to use.
    show : draw progress on a terminal.
    storage : options of a remote run folder (see ``Store``).

    Raises
    ------
    RecipeError
        Before anything runs, for a recipe that cannot be.
    BuildError, TaskFailed
        When the build cannot go on. What is done stays done.
    """
    recipe, plans = plan_recipe(recipe_path)
    store = Store(out or f"runs/{recipe.name}", storage or {})
    with only_builder(store), scratch_folder(store) as scratch:
        progress = Progress(store, workers, show=show)
        state = "failed"
        try:
            executor = make_executor(workers, address)
            try:
                runner = Runner(store, executor, progress, scratch)
                built = _Build(recipe, plans, store, runner).run()
            finally:
                executor.close()
            state = "done"
        finally:
            progress.close(state)
    return built


def known_keys(store: Store) -> set[str]:
    """Keys of all tasks whose outputs may lie in the run folder."""
    try:
        return set(orjson.loads(store.read(KEYS_FILE)))
    except (FileNotFoundError, orjson.JSONDecodeError):
        # A new folder, where there is nothing; or a damaged file, and the records know.
        return {Path(path).stem for path in store.list(RECORDS)}


class _Build:
    """One build, phase by phase."""

    def __init__(self, recipe: Recipe, plans: Plans, store: Store, runner: Runner) -> None:
        self.recipe = recipe
        self.plans = plans
        self.store = store
        self.journal = Journal(store)
        self.runner = runner
        self.runner.on_record = self._watch
        self.wanted: set[str] = set()
        self.known = known_keys(store)
        self.reads: dict[str, list[Record]] = defaultdict(list)

    def run(self) -> Built:
        started = time.monotonic()
        partitions = self._partitions()
        parts = graph.partition_tasks(self.recipe, partitions)
        self._expect([task for part in parts for task in part.all])
        self._forget_unsettled(parts)
        self._run([task for part in parts for task in part.all])
        reads = [self.runner.records[part.read.key] for part in parts]
        rows, pictured = graph.rows_of(reads), graph.pictured_of(reads)
        categories = self._categories(parts)

        parts = graph.with_images(parts, pictured)
        signals = [part.images for part in parts if part.images is not None]
        repetition = graph.repetition_of(self.recipe, parts, pictured)
        if repetition is not None:
            signals.append(repetition)
        tasks = graph.global_tasks(self.recipe, parts, rows, self._previous(), pictured)
        split, *_ = self._run([tasks.split, *signals])
        kept_bytes: list[int] = split.stats["kept_bytes"]
        counts = graph.shard_counts(kept_bytes, self.recipe.pack.shard_bytes)

        settled = graph.settle_tasks(self.recipe, parts, rows, tasks, counts)
        packs = graph.pack_tasks(self.recipe, settled, counts, kept_bytes)
        shards, tokenizer = token_tasks(self.recipe, packs)
        tokenized = [shard.tokenize for shard in shards]
        splits = [NAMES[pack.params["split"]] for pack in packs]
        energon = energon_tasks(splits, packs, tokenized)
        wanted = [*settled, *packs, tokenizer, *tokenized, *energon]
        self._expect(wanted)
        self._supersede()
        tiered = self.recipe.tiers is not None
        place_indexes(self.journal, tokenized, UNTIERED_FOLDER if tiered else INDEX_FOLDER)
        self._run(wanted)
        lookup = graph.lookup_task(parts, settled, shards)
        self._run([lookup])
        tiers = graph.tiers_of(self.recipe, parts, lookup, tokenized)
        if tiers is not None:
            self._run([tiers.grade, *tiers.tiers])
        outcome = (tokenizer, lookup, *energon)
        others = {
            "repetition": repetition,
            "categories": categories,
            "grade": None if tiers is None else tiers.grade,
        }
        header, summary = self._finish(
            parts, settled, shards, () if tiers is None else tiers.tiers, outcome, others, started
        )
        return Built(header, summary, self.runner.executed)

    # Before the steps

    def _categories(self, parts: Sequence[PartitionTasks]) -> Task | None:
        """Count what rules take of categories, where texts are scored, and check it."""
        reward, rewards = self.recipe.reward, graph.rewards_of(parts)
        if reward is None:
            return None
        check_scored(reward, [self.runner.records[task.key] for task in rewards])
        sources = [part.source for part in parts]
        task = categories_task(self.recipe, sources, rewards, [part.decide for part in parts])
        (record,) = self._run([task])
        check_categories(reward, record)
        return task

    def _partitions(self) -> list[Partition]:
        """Partitions of all sources, in the recipe's order."""
        partitions = [part for source in self.recipe.sources for part in self.plans[source.name]]
        if not partitions:
            raise BuildError(
                f"recipe {self.recipe.name}: found nothing to read in any source; "
                "`python -m dataflow check RECIPE` shows the plan"
            )
        return partitions

    def _write_lock(self) -> None:
        scorer = scorer_of(self.recipe)
        named = {} if scorer is None else {"reward": scorer.name}
        self.store.write("recipe.lock.yaml", lock(self.recipe, {**versions(), **named}).encode())

    def _previous(self) -> dict[str, Any] | None:
        if self.recipe.split.previous is None:
            return None
        run = Run.load(Store(self.recipe.resolve(self.recipe.split.previous)))
        return {
            "uri": run.store.uri,
            "logical_root": run.header["logical_root"],
            "index": [shard.tokenize.outputs["index"].path for shard in run.shards],
        }

    # Keys, and what is no longer wanted

    def _expect(self, tasks: Sequence[Task]) -> None:
        """Write down which keys may come to lie in the run folder before any of them does."""
        pending = list(tasks)
        while pending:
            task = pending.pop()
            if task.key not in self.wanted:
                self.wanted.add(task.key)
                pending += [t for group in task.inputs.values() for t in group]
        known = sorted(self.known | self.wanted)
        self.known = set(known)
        self.store.write(KEYS_FILE, orjson.dumps(known))

    def _run(self, targets: Sequence[Task]) -> list[Record]:
        self._expect(targets)
        return self.runner.run(targets)

    def _supersede(self) -> None:
        """Take back records of shards that this build writes anew under the same file names.

        Their old records go first: were the build cut short in between, neither would seem to
        exist.
        """
        for key in sorted(self.known - self.wanted):
            record = self.journal.get(key)
            if record is not None and record.step in FIXED_NAMES:
                self.store.delete(self.journal.path(key))
                for output in record.outputs.values():
                    self.store.delete(output.path)
                self.known.discard(key)

    def _forget_unsettled(self, parts: Sequence[PartitionTasks]) -> None:
        """Take back what was made while files were not as planned, now that they are again.

        Such a file (vanished, not to be opened) is a row of ``unreadable``, and the key of that
        reading is the one under which the plan finds the file today. All that followed goes first:
        were the build cut short in between, the reading would still be known for what it is.
        """
        reads = {part.name: part.read.key for part in parts}
        found = {name: self.journal.get(key) for name, key in reads.items()}
        again = {name for name, record in found.items() if record and record.stats["unsettled"]}
        if not again:
            return
        for key in sorted(self.known - set(reads.values())):
            record = self.journal.get(key)
            if record and (record.step not in PARTITION_STEPS or record.name in again):
                self.store.delete(self.journal.path(key))
        for name in sorted(again):
            self.store.delete(self.journal.path(reads[name]))

    def _sweep(self) -> None:
        """Delete what is not of the finished run: temporary outputs, those of other recipes and
        code, and files that a killed worker began.

        The last have no record, so the folders are listed. Records go first: a file without a
        record does not exist anyway.
        """
        records = {Journal.path(key) for key in self.wanted}
        for path in self.store.list(RECORDS):
            if path not in records:
                self.store.delete(path)
        self.store.remove_empty(RECORDS)
        with self.store.open("manifest.parquet") as stream:
            wanted = set(pq.ParquetFile(stream).read(["path"])["path"].to_pylist())
        for folder in OUTPUT_FOLDERS:
            for path in self.store.list(folder):
                if path not in wanted:
                    self.store.delete(path)
            self.store.remove_empty(folder)
        self.known = set(self.wanted)
        self.store.write(KEYS_FILE, orjson.dumps(sorted(self.known)))

    def _watch(self, task: Task, record: Record) -> None:
        """Stop when a source has more bad records than its recipe allows; warn where it is left
        without documents."""
        if task.step != "read":
            return
        source = record.stats["source"]
        self.reads[source].append(record)
        if len(self.reads[source]) < len(self.plans[source]):
            return
        self._check_captions(source)
        seen = sum(r.stats["seen"] for r in self.reads[source])
        bad = sum(r.stats["bad"] for r in self.reads[source])
        limit = next(s.max_bad_fraction for s in self.recipe.sources if s.name == source)
        reasons: Counter[str] = Counter()
        for r in self.reads[source]:
            reasons.update(r.stats["reasons"])
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        if seen and bad / seen > limit:
            raise BuildError(
                f"source {source}: {bad} of {seen} records are bad ({bad / seen:.2%}), "
                f"max_bad_fraction is {limit:.2%}; reasons: {listed}; see "
                f"{self.store.uri}/ledger/unreadable, then mend the source or raise the limit"
            )
        if seen and not any(r.stats["read"] for r in self.reads[source]):
            where = f"{self.store.uri}/ledger/unreadable"
            if any(reason in reasons for reason in _LIMITED):
                where += _LIMITS_HINT
            _log.warning(
                "source %s: none of its %d records gives a document (%s); see %s",
                *(source, seen, listed, where),
            )

    def _check_captions(self, source: str) -> None:
        """Stop when a source's table of captions says nothing of any of its documents."""
        captions = self.recipe.spec(source).captions
        stats = [record.stats for record in self.reads[source]]
        if captions is None or not any(s["read"] for s in stats):
            return
        if not any(s["refined"] for s in stats):
            raise BuildError(
                f"source {source}: found no caption for any of its images in {captions.path}, "
                "expected the table of these images; `python -m vl_data caption` makes one, of "
                "the same files and captions"
            )

    # After the steps

    def _finish(
        self,
        parts: Sequence[PartitionTasks],
        settled: Sequence[Task],
        shards: Sequence[ShardTasks],
        tiers: Sequence[Task],
        outcome: Sequence[Task],
        others: Mapping[str, Task | None],
        started: float,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        records = self.runner.records
        self._write_lock()
        partitions = [
            PartitionRecords(
                p.name,
                p.source,
                records[p.read.key],
                records[p.scan.key],
                records[p.language.key],
                records[settle.key],
                None if p.images is None else records[p.images.key],
                None if p.image_reward is None else records[p.image_reward.key],
                None if p.reward is None else records[p.reward.key],
            )
            for p, settle in zip(parts, settled, strict=True)
        ]
        packed = [
            ShardRecords(
                s.name,
                records[s.pack.key],
                records[s.tokenize.key],
                records[tier.key] if tier is not None else None,
            )
            for s, tier in zip_longest(shards, tiers)
        ]
        header = publish(
            self.store,
            self.recipe.name,
            partitions,
            packed,
            *(records[task.key] for task in outcome),
            **{name: records[task.key] for name, task in others.items() if task is not None},
        )
        behind = [records.get(key) or self.journal.get(key) for key in sorted(self.wanted)]
        self._sweep()
        summary = summarise(
            header,
            [record for record in behind if record is not None],
            self.runner.progress.snapshot("done"),
            time.monotonic() - started,
            self.runner.executed,
        )
        self.store.write("journal/summary.json", orjson.dumps(summary))
        report_run(self.store)
        return header, summary
