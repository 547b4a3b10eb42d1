from __future__ import annotations

import gzip
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from dataflow.sources import PlanError, SourceError, SourceSpec, plan, read
from dataflow.sources.patterns import matcher, selector, split_pattern

Reader = Callable[..., Any]


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, Any]]:
    """An S3 server on loopback: its address, and a filesystem that may write."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    files = pafs.S3FileSystem(
        access_key="test",
        secret_key="test",
        region="us-east-1",
        endpoint_override=f"{host}:{port}",
        scheme="http",
        allow_bucket_creation=True,
    )
    files.create_dir("bucket")
    yield f"http://{host}:{port}", files
    server.stop()


@pytest.fixture
def storage(s3: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return {"endpoint_url": s3[0], "region": "us-east-1"}


def put(files: Any, path: str, data: bytes) -> None:
    with files.open_output_stream(path, compression=None) as sink:
        sink.write(data)


def test_s3_reads_as_local_files_do(
    tmp_path: Path, read_all: Reader, s3: tuple[str, Any], storage: dict[str, str]
) -> None:
    rows = [json.dumps({"text": f"row {i}"}) for i in range(500)]
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [f"cell {i}" for i in range(500)]}), sink, row_group_size=50)
    data = {
        "corpus/a.jsonl": "\n".join(rows).encode(),
        "corpus/deep/b.jsonl.gz": gzip.compress(b'{"text": "packed"}\n'),
        "corpus/c.parquet": sink.getvalue(),
        "corpus/d.txt": b"plain",
        "corpus/skipped.bin": b"\0\1",
        "other/e.txt": b"elsewhere",
    }
    for name, content in data.items():
        put(s3[1], f"bucket/{name}", content)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    pattern = "corpus/**/*.{jsonl,jsonl.gz,parquet,txt}"
    for partition_bytes in (200, 1 << 30):
        there = read_all(
            paths=(f"s3://bucket/{pattern}",), storage=storage, partition_bytes=partition_bytes
        )
        here = read_all(paths=(str(tmp_path / pattern),), partition_bytes=partition_bytes)
        assert there.texts == here.texts
        assert len(there.partitions) == len(here.partitions)
        assert [r.offset for r in there.records] == [r.offset for r in here.records]
    assert there.records[0].uri == "s3://bucket/corpus/a.jsonl"
    whole = read_all(paths=("s3://bucket/corpus/d.txt",), storage=storage)
    assert whole.texts == ["plain"]


def test_s3_objects_that_vanish_and_buckets_that_are_not(
    s3: tuple[str, Any], storage: dict[str, str]
) -> None:
    put(s3[1], "bucket/gone/a.txt", b"text")
    spec = SourceSpec("s", paths=("s3://bucket/gone/*",), storage=storage)
    (partition,) = plan(spec, 1 << 20)
    s3[1].delete_file("bucket/gone/a.txt")
    (outcome,) = read(spec, partition)
    assert getattr(outcome, "reason", "") == "vanished"
    with pytest.raises(PlanError, match="matches nothing"):
        plan(SourceSpec("s", paths=("s3://bucket/nothing/*",), storage=storage), 1)
    with pytest.raises(PlanError, match="storage: unknown key 'acess_key'"):
        plan(SourceSpec("s", paths=("s3://bucket/*",), storage={"acess_key": "x"}), 1)


def test_a_server_that_is_not_there_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    spec = SourceSpec("s", paths=("http://127.0.0.1:9/a.jsonl",))
    with pytest.raises(SourceError, match=r"a\.jsonl"):
        plan(spec, 1)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *arguments: object) -> None:
            del arguments

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_http(tmp_path: Path, read_all: Reader, web: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"packed"))
    found = read_all(paths=(f"{web}/a.jsonl", f"{web}/b.txt.gz", f"{web}/missing.txt"))
    assert found.texts == ["one", "two", "packed"]
    assert found.refused == [(f"{web}/missing.txt", 0, "vanished")]


def test_fsspec(read_all: Reader) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/place/x/a.txt", b"in memory")
    memory.pipe("/place/b.jsonl", b'{"text": "row"}\n')
    found = read_all(paths=("memory://place/**",))
    assert sorted(found.texts) == ["in memory", "row"]


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.txt", "a.txt", True),
        ("*.txt", "x/a.txt", False),
        ("**/*.txt", "a.txt", True),
        ("**/*.txt", "x/y/a.txt", True),
        ("x/**", "x/y/a.txt", True),
        ("x/**/z/*.{md,rst}", "x/z/a.rst", True),
        ("x/?[ab]*.md", "x/1b.md", True),
        ("x/[!ab].md", "x/a.md", False),
        ("a.txt", "axtxt", False),
        ("**", "anything/at.all", True),
    ],
)
def test_patterns(pattern: str, path: str, matches: bool) -> None:
    assert matcher(pattern)(path) is matches


def test_selection() -> None:
    chosen = selector(("**/*.py",), ("test/**",))
    assert [p for p in ("a.py", "x/a.py", "test/a.py", "a.c") if chosen(p)] == ["a.py", "x/a.py"]
    assert split_pattern("/a/b/*.txt") == ("/a/b", "*.txt")
    assert split_pattern("/a/b.txt") == ("/a/b.txt", "")
    assert split_pattern("/*") == ("/", "*")
