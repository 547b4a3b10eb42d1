"""The work that the dispatch benchmark sends through an executor, and what it refuses to count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cases.dispatch import check_copies, make_inputs, make_jobs, results
from dataflow.executor import InProcess
from dataflow.journal import Journal, Record
from dataflow.tasks import Job

COUNT = 5


@pytest.mark.parametrize("copy", [False, True])
def test_every_job_leaves_a_record_and_its_file(tmp_path: Path, copy: bool) -> None:
    folder = make_inputs(tmp_path / "run", COUNT)
    jobs = make_jobs(folder, COUNT, copy=copy)
    moments = results(InProcess(), jobs)
    assert len(moments) == COUNT
    assert moments == sorted(moments)
    journal = Journal(jobs[0].store)
    records = [journal.get(job.key) for job in jobs]
    assert [r is not None and len(r.outputs) for r in records] == [int(copy)] * COUNT
    check_copies(folder, COUNT if copy else 0)


def test_a_lost_copy_is_noticed(tmp_path: Path) -> None:
    folder = make_inputs(tmp_path / "run", COUNT)
    results(InProcess(), make_jobs(folder, COUNT, copy=True))
    next((folder / "out").iterdir()).unlink()
    with pytest.raises(RuntimeError, match="4 files, not the 5"):
        check_copies(folder, COUNT)


class _Repeating(InProcess):
    """Answers every job with the first one's record."""

    first: Record | None = None

    def wait(self) -> Iterator[tuple[Job, Record]]:
        for job, record in super().wait():
            self.first = self.first or record
            yield job, self.first


def test_a_doubled_result_is_noticed(tmp_path: Path) -> None:
    jobs = make_jobs(make_inputs(tmp_path / "run", 0), COUNT, copy=False)
    with pytest.raises(RuntimeError, match="5 results of 5 tasks, not one for each"):
        results(_Repeating(), jobs)
