"""Runs a graph of tasks: what is missing, in an order that respects inputs, on an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dataflow.executor import Executor
from dataflow.journal import Journal, Record
from dataflow.progress import Progress
from dataflow.store import Store
from dataflow.tasks import STEP_MODULES, FinishedTask, Job, Task


@dataclass
class Runner:
    """Brings tasks' outputs into being.

    A task whose record and outputs are in the journal is not run again. A temporary output that is
    gone is made again only if a task that must run needs it.
    """

    store: Store
    executor: Executor
    progress: Progress
    scratch: str
    on_record: Callable[[Task, Record], None] | None = None
    records: dict[str, Record] = field(default_factory=dict)
    """Records by key of every task that was asked for, run now or found."""
    executed: int = 0

    def run(self, targets: Iterable[Task]) -> list[Record]:
        """Make the outputs of ``targets`` real; return their records in the same order."""
        wanted = list(targets)
        missing = self._missing(wanted)
        self.progress.expect(missing)
        blocked_by: dict[str, set[str]] = {}
        unblocks: dict[str, list[Task]] = {}
        ready: list[Task] = []
        names = {task.key for task in missing}
        for task in missing:
            needs = {t.key for tasks in task.inputs.values() for t in tasks} & names
            blocked_by[task.key] = needs
            for key in needs:
                unblocks.setdefault(key, []).append(task)
            if not needs:
                ready.append(task)
        ready.reverse()
        running: dict[str, Task] = {}
        while ready or running:
            while ready and self.executor.free:
                task = ready.pop()
                running[task.key] = task
                self.executor.submit(self._job(task))
            for job, record in self.executor.wait():
                task = running.pop(job.key)
                self.records[task.key] = record
                self.executed += 1
                self.progress.done(task, record)
                self._tell(task, record)
                # Last in, first out: a partition goes on to its next step while it is warm.
                for other in unblocks.get(task.key, ()):
                    blocked_by[other.key].discard(task.key)
                    if not blocked_by[other.key]:
                        ready.append(other)
            self.progress.tick()
        return [self.records[task.key] for task in wanted]

    def _tell(self, task: Task, record: Record) -> None:
        if self.on_record is not None:
            self.on_record(task, record)

    def _job(self, task: Task) -> Job:
        inputs = {role: [self.records[t.key] for t in tasks] for role, tasks in task.inputs.items()}
        return Job(
            STEP_MODULES[task.step],
            task.step,
            task.name,
            task.key,
            dict(task.params),
            dict(task.local),
            inputs,
            self.store,
            self.scratch,
        )

    def _missing(self, targets: Iterable[Task]) -> list[Task]:
        """The tasks to run, inputs before those that need them."""
        journal = Journal(self.store)
        order: dict[str, Task] = {}
        checked: dict[str, bool] = {}

        def settled(task: Task, temporary: bool) -> bool:
            """Whether the task needs no running; ``temporary``: its temporary outputs count."""
            if task.key in order:
                return False
            if isinstance(task, FinishedTask):
                self.records[task.key] = task.record
                return True
            if checked.get(task.key, False) or (task.key in checked and not temporary):
                return True
            fresh = task.key not in self.records
            record = journal.get(task.key) if fresh else self.records[task.key]
            if record is None or not journal.present(record, temporary=temporary):
                return False
            self.records[task.key] = record
            checked[task.key] = temporary
            if fresh:
                self._tell(task, record)
            return True

        def visit(task: Task, temporary: bool) -> None:
            if settled(task, temporary):
                return
            for tasks in task.inputs.values():
                for needed in tasks:
                    visit(needed, True)
            order[task.key] = task

        for target in targets:
            visit(target, False)
        return list(order.values())
