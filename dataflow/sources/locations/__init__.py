"""Where sources lie: one module a kind, each listing what there is."""

from __future__ import annotations

from collections.abc import Callable

from dataflow.sources.filesystems import Found
from dataflow.sources.locations.distributions import list_distributions
from dataflow.sources.locations.files import list_files
from dataflow.sources.locations.stdlib import list_stdlib
from dataflow.sources.spec import SourceSpec

LOCATIONS: dict[str, Callable[[SourceSpec], list[Found]]] = {
    "files": list_files,
    "distributions": list_distributions,
    "stdlib": list_stdlib,
}
