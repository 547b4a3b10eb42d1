"""Reading a whole source, whatever its partitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow.sources import Partition, Record, SourceSpec, Unreadable, plan, read

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


class Outcomes:
    """What reading a source gave."""

    def __init__(self, spec: SourceSpec, partition_bytes: int) -> None:
        self.partitions = plan(spec, partition_bytes)
        self.all: list[Record | Unreadable] = []
        for partition in self.partitions:
            sent = Partition.from_json(partition.to_json())
            self.all += read(SourceSpec.from_json(spec.to_json()), sent)
        places = [(o.uri, o.offset) for o in self.all]
        assert len(set(places)) == len(places), "an outcome's place is not unique"

    @property
    def records(self) -> list[Record]:
        return [o for o in self.all if isinstance(o, Record)]

    @property
    def refused(self) -> list[tuple[str, int, str]]:
        return [(o.uri, o.offset, o.reason) for o in self.all if isinstance(o, Unreadable)]

    @property
    def texts(self) -> list[str]:
        return [r.text for r in self.records]


Reader = Callable[..., Outcomes]


@pytest.fixture
def read_all(tmp_path: Path) -> Reader:
    """Read everything under ``tmp_path``, or what the keywords of ``SourceSpec`` say."""

    def run(partition_bytes: int = 1 << 30, **keywords: Any) -> Outcomes:
        keywords.setdefault("name", "test")
        if keywords.get("kind", "files") == "files":
            keywords.setdefault("paths", (str(tmp_path),))
        return Outcomes(SourceSpec(**keywords), partition_bytes)

    return run


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """A path under the real data that are not part of the repository; skips without them."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"needs ../shared/data/{name}")
        return path

    return find
