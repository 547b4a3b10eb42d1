from __future__ import annotations

import gzip
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow.sources import Limits, Partition, PlanError, Record, SourceSpec, plan, read

Reader = Callable[..., Any]


def test_files_are_documents(tmp_path: Path, read_all: Reader) -> None:
    (tmp_path / "doc").mkdir()
    (tmp_path / "doc" / "a.md").write_bytes("# Größe\r\n\r\ntext\r".encode())
    (tmp_path / "doc" / "b.rst.gz").write_bytes(gzip.compress(b"Title\n=====\n"))
    (tmp_path / "doc" / "code.py").write_text(
        "# SPDX-License-Identifier: MIT OR Apache-2.0\nx = 1\n"
    )
    (tmp_path / "doc" / "old.py").write_bytes(b"# -*- coding: latin-1 -*-\ns = '\xe9'\n")
    (tmp_path / "README").write_text("plain")
    found = {r.uri: r for r in read_all(license="CC0-1.0").records}
    assert found["doc/a.md"].text == "# Größe\n\ntext\n"
    assert found["doc/a.md"].media_type == "text/markdown"
    assert found["doc/b.rst.gz"].text == "Title\n=====\n"
    assert found["doc/code.py"].license == "MIT OR Apache-2.0"
    assert found["doc/old.py"].text.endswith("s = 'é'\n")
    assert found["doc/old.py"].encoding == "cp1252"
    assert found["README"].license == "CC0-1.0"
    assert all(r.offset == 0 and r.captured_at is None for r in found.values())


def test_what_is_no_document_is_one_row_each(tmp_path: Path, read_all: Reader) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "empty.txt.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "nul.txt").write_text("a stray \0 in text " + "that goes on " * 100)
    (tmp_path / "noise").write_bytes(os.urandom(5000).replace(b"\0", b"\1"))
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(os.urandom(9999))[:5000])
    (tmp_path / "sparse.txt").touch()
    os.truncate(tmp_path / "sparse.txt", 1 << 40)
    with (tmp_path / "oneline.txt").open("wb") as file:
        file.write(b"x" * (3 << 20))
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.txt").symlink_to("self.txt")
    (tmp_path / "dangling.txt").symlink_to("nowhere")
    (tmp_path / "link.txt").symlink_to("nul.txt")
    here = socket.socket(socket.AF_UNIX)
    cwd = Path.cwd()
    os.chdir(tmp_path)  # a socket's path must be short
    here.bind("socket.txt")
    os.chdir(cwd)
    found = read_all(limits=Limits(max_record_bytes=2 << 20))
    here.close()
    refused = {uri: reason for uri, _, reason in found.refused}
    noise = refused.pop("noise", None)
    assert noise in ("encoding", None)
    assert refused == {
        "binary.txt": "binary",
        "blank.txt": "no-text",
        "cut.txt.gz": "truncated",
        "dangling.txt": "vanished",
        "empty.txt": "empty",
        "empty.txt.gz": "empty",
        "loop": "directory-link",
        "oneline.txt": "record-too-large",
        "pipe.txt": "special-file",
        "self.txt": "link-loop",
        "socket.txt": "special-file",
        "sparse.txt": "record-too-large",
    }
    assert [r.uri for r in found.records if r.uri != "noise"] == ["link.txt", "nul.txt"]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")
def test_permissions(read_all: Reader) -> None:
    with tempfile.TemporaryDirectory() as folder:  # ``tmp_path`` lies where nobody may look
        check_permissions(Path(folder), read_all)


def check_permissions(tmp_path: Path, read_all: Reader) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "open.txt").write_text("readable")
    (tmp_path / "closed.txt").write_text("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside.txt").write_text("secret")
    (tmp_path / "closed.txt").chmod(0)
    (tmp_path / "folder").chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        found = read_all(paths=(str(tmp_path),))
    finally:
        if was_root:
            os.seteuid(0)
        (tmp_path / "folder").chmod(0o755)
    assert found.texts == ["readable"]
    assert found.refused == [("closed.txt", 0, "permission"), ("folder/", 0, "permission")]


def test_files_that_vanish_or_change_after_planning(tmp_path: Path) -> None:
    for name in ("gone.txt", "grown.txt", "kept.txt", "pipe.txt"):
        (tmp_path / name).write_text(name)
    spec = SourceSpec("s", paths=(str(tmp_path),))
    (partition,) = plan(spec, 1 << 20)
    (tmp_path / "gone.txt").unlink()
    (tmp_path / "grown.txt").write_text("something else")
    (tmp_path / "pipe.txt").unlink()
    os.mkfifo(tmp_path / "pipe.txt")
    found = {o.uri: "" if isinstance(o, Record) else o.reason for o in read(spec, partition)}
    assert found == {
        "gone.txt": "vanished",
        "grown.txt": "changed",
        "kept.txt": "",
        "pipe.txt": "special-file",
    }


def test_a_changed_file_of_equal_size_is_seen_by_its_digest(tmp_path: Path) -> None:
    from dataflow.sources import Sample

    path = tmp_path / "a.txt"
    path.write_text("first")
    times = path.stat()
    spec = SourceSpec("s", paths=(str(path),), sample=Sample(1000))
    (partition,) = plan(spec, 1 << 20)
    path.write_text("other")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (outcome,) = read(spec, partition)
    assert not isinstance(outcome, Record)
    assert outcome.reason == "changed"


def test_names_that_are_not_utf8(tmp_path: Path, read_all: Reader) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    Path(os.fsdecode(raw)).write_text("text")
    (record,) = read_all().records
    assert record.uri == "caf%E9.txt"
    record.uri.encode()


def test_two_machine_paths_with_one_uri_are_an_error(tmp_path: Path) -> None:
    spec = SourceSpec("s", paths=(str(tmp_path / "a*"), str(tmp_path / "**")))
    (tmp_path / "a.txt").write_text("one")
    partitions = plan(spec, 1 << 20)
    assert [i.uri for p in partitions for i in p.items] == ["a.txt"]


def test_a_partition_survives_json(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    spec = SourceSpec("s", paths=(str(tmp_path),))
    (partition,) = plan(spec, 1 << 20)
    assert Partition.from_json(partition.to_json()) == partition
    assert SourceSpec.from_json(spec.to_json()) == spec
    assert partition.name == "s-00000"
    assert partition.fingerprint == plan(spec, 5)[0].fingerprint


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"kind": "file"}, "did you mean 'files'"),
        ({"format": "jsnol"}, "did you mean 'jsonl'"),
        ({"html": "resiliparser"}, "did you mean 'resiliparse'"),
        ({"paths": ()}, "`paths` is empty"),
        ({"paths": ("nothing/here/*.txt",)}, "matches nothing"),
        ({"exclude": ("**",)}, "no file is left"),
        ({"paths": ("https://a.example/*.html",)}, "no listing"),
        ({"name": ""}, "is empty"),
    ],
)
def test_plan_errors_say_what_to_do(tmp_path: Path, keywords: dict[str, Any], message: str) -> None:
    (tmp_path / "a.txt").write_text("one")
    merged = {"name": "s", "paths": (str(tmp_path),), "base": str(tmp_path)} | keywords
    with pytest.raises(PlanError, match=message.replace("*", r"\*")):
        plan(SourceSpec(**merged), 1 << 20)
