"""Sources: find what there is to read, cut it into partitions, and read records from them.

``plan`` lists a source's files and cuts them into partitions; ``read`` turns one partition into
records and unreadable rows. Both are deterministic, and what is read does not depend on the cut.
"""

from dataflow.sources.plan import plan
from dataflow.sources.read import read
from dataflow.sources.spec import (
    OUT_OF_SCOPE,
    Captions,
    Damage,
    Fields,
    Fit,
    Item,
    Limits,
    Partition,
    PlanError,
    Record,
    Sample,
    SourceError,
    SourceSpec,
    Synthesis,
    Unreadable,
)

__all__ = [
    "OUT_OF_SCOPE",
    "Captions",
    "Damage",
    "Fields",
    "Fit",
    "Item",
    "Limits",
    "Partition",
    "PlanError",
    "Record",
    "Sample",
    "SourceError",
    "SourceSpec",
    "Synthesis",
    "Unreadable",
    "plan",
    "read",
]
