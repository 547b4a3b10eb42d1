from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow.sources import PlanError, Sample, SourceSpec, plan
from dataflow.sources.locations import distributions

Reader = Callable[..., Any]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a made distribution on the path; returns its site-packages."""

    def run(name: str, files: dict[str, bytes], metadata: str = "", direct: object = None) -> Path:
        site = tmp_path / "env" / "lib" / "python3" / "site-packages"
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        listed = {
            f"{name}-1.0.dist-info/METADATA": (
                f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}\nDescription.\n"
            ).encode(),
            f"{name}-1.0.dist-info/INSTALLER": b"pip\n",
            **files,
        }
        if direct is not None:
            listed[f"{name}-1.0.dist-info/direct_url.json"] = json.dumps(direct).encode()
        rows = []
        for path, data in listed.items():
            target = site / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            rows.append(f"{path},sha256={digest.decode()},{len(data)}")
        (info / "RECORD").write_text("\n".join([*rows, f"{name}-1.0.dist-info/RECORD,,"]) + "\n")
        monkeypatch.syspath_prepend(str(site))
        return site

    return run


FILES = {
    "pack/__init__.py": b"",
    "pack/code.py": b"# SPDX-License-Identifier: ISC\nx = 1\n",
    "pack/other.py": b"y = 2\n",
    "pack/data.json": b"{}",
    "pack/fast.so": b"\x7fELF",
    "pack/__pycache__/code.cpython-311.pyc": b"\0\0",
    "pack-1.0.dist-info/licenses/LICENSE": b"Do as you like.",
    "../../../bin/pack": b"#!/machine/path/python\n",
    "../../../share/man/man1/pack.1": b".TH PACK 1\n.SH NAME\npack \\- packs\n",
}


def test_a_distribution_is_what_people_wrote(
    install: Callable[..., Path], read_all: Reader
) -> None:
    install("pack", FILES, "License-Expression: MIT\n")
    found = read_all(kind="distributions", distributions=("pack",))
    assert {r.uri: r.license for r in found.records} == {
        "dist:pack-1.0/pack-1.0.dist-info/METADATA": "MIT",
        "dist:pack-1.0/pack-1.0.dist-info/licenses/LICENSE": "MIT",
        "dist:pack-1.0/pack/code.py": "ISC",
        "dist:pack-1.0/pack/other.py": "MIT",
        "dist:pack-1.0/share/man/man1/pack.1": "MIT",
    }
    assert found.refused == [("dist:pack-1.0/pack/__init__.py", 0, "empty")]
    fingerprints = {i.fingerprint.split(":")[0] for p in found.partitions for i in p.items}
    assert fingerprints == {"sha256"}


def test_edited_and_missing_files_are_seen(install: Callable[..., Path], read_all: Reader) -> None:
    site = install("pack", FILES)
    (site / "pack/other.py").write_bytes(b"y = 3\n")
    (site / "pack/code.py").unlink()
    found = read_all(kind="distributions", distributions=("pack",))
    assert ("dist:pack-1.0/pack/other.py", 0, "changed") in found.refused
    assert ("dist:pack-1.0/pack/code.py", 0, "vanished") in found.refused


def test_partitions_do_not_depend_on_the_machine(
    install: Callable[..., Path], tmp_path: Path
) -> None:
    install("pack", FILES)
    spec = SourceSpec("s", kind="distributions", distributions=("pack",))
    first = plan(spec, 1 << 20)[0].fingerprint
    moved = tmp_path / "elsewhere"
    (tmp_path / "env").rename(moved)
    import sys

    sys.path.insert(0, str(moved / "lib" / "python3" / "site-packages"))
    try:
        assert plan(spec, 1 << 20)[0].fingerprint == first
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: Apache-2.0 OR MIT", "Apache-2.0 OR MIT"),
        ("License: MIT License", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License", "BSD-3-Clause"),
        (
            "Classifier: License :: OSI Approved :: BSD License\n"
            "Classifier: License :: OSI Approved :: MIT License",
            "unknown",
        ),
        ("License: see the file", "unknown"),
        ("", "unknown"),
    ],
)
def test_licences_from_metadata(
    install: Callable[..., Path], read_all: Reader, metadata: str, expected: str
) -> None:
    install("pack", {"pack.py": b"x = 1\n"}, metadata + "\n" if metadata else "")
    found = read_all(kind="distributions", distributions=("pack",))
    assert {r.license for r in found.records} == {expected}


def test_what_is_no_source_is_an_error(install: Callable[..., Path]) -> None:
    install("edited", {}, direct={"url": "file:///x", "dir_info": {"editable": True}})
    for name, message in (
        ("leyden", "Leyden itself"),
        ("edited", "editable"),
        ("pyarow", "did you mean 'pyarrow'"),
    ):
        with pytest.raises(PlanError, match=message):
            plan(SourceSpec("s", kind="distributions", distributions=(name,)), 1)


def test_real_distributions(read_all: Reader) -> None:
    found = read_all(
        kind="distributions", distributions=("numpy", "hypothesis"), sample=Sample(2_000_000)
    )
    version = importlib.metadata.version("numpy")
    uris = [r.uri for r in found.records]
    assert any(u.startswith(f"dist:numpy-{version}/numpy/") for u in uris)
    assert not any("pycache" in u or ".so" in u or "/bin/" in u for u in uris)
    assert {r.license for r in found.records} - {"MPL-2.0"}
    assert all(reason in ("empty", "no-text") for _, _, reason in found.refused)


def test_the_standard_library(read_all: Reader) -> None:
    sample = Sample(3_000_000, seed=5)
    found = read_all(kind="stdlib", sample=sample, exclude=("stdlib:test/**",))
    assert len(found.records) > 50
    assert all(r.uri.startswith("stdlib:") for r in found.records)
    assert not any("site-packages" in r.uri or "_sysconfigdata" in r.uri for r in found.records)
    again = read_all(kind="stdlib", sample=sample, exclude=("stdlib:test/**",), partition_bytes=1)
    assert again.all == found.all


def test_samples_grow_by_their_cap(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"{i}.txt").write_text(f"file {i} " * (i + 1))

    def names(size: int, seed: int = 0) -> set[str]:
        spec = SourceSpec("s", paths=(str(tmp_path),), sample=Sample(size, seed))
        items = [i for p in plan(spec, 1 << 30) for i in p.items]
        assert sum(i.size for i in items) <= size
        return {i.uri for i in items}

    assert names(3000) < names(6000) < names(1 << 20)
    assert names(3000) != names(3000, seed=1)
    assert len(names(1 << 20)) == 60


def test_selection_by_name() -> None:
    inside = distributions._inside
    from pathlib import PurePosixPath as P

    assert inside(P("../../bin/x")) is None
    assert inside(P("../../../share/doc/x.txt")) == "share/doc/x.txt"
    assert inside(P("a/__pycache__/b.pyc")) is None
    assert inside(P("/etc/passwd")) is None
