"""The step ``read`` with the test format known: what a worker process imports in its place."""

from __future__ import annotations

from typing import Any

from dataflow.steps import read
from dataflow.tasks import Step, StepContext
from tests.dataflow.picture_corpora import known_format


def run(context: StepContext) -> dict[str, Any]:
    """As ``dataflow.steps.read.run``."""
    with known_format():
        return read.run(context)


STEP = Step("read", run)
