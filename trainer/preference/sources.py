"""Which sources of a corpus hold pairs of answers, of which one half is to be unlearnt."""

from __future__ import annotations

from dataflow.run import Run


def paired_sources(run: Run) -> frozenset[str]:
    """The sources of a run of which a document is a pair."""
    return frozenset(part.source for part in run.partitions if part.read.stats.get("pairs"))
