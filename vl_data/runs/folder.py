"""A finished run, opened through its journal: which shards it has, and in which files they lie.

A run's folder says all of it in JSON: ``journal/run.json`` names the records of its steps by key,
and a record (``journal/records/KK/KEY.json``, a line of JSON and a line with its BLAKE3) names the
files that its step wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from blake3 import blake3

from vl_data.runs.errors import RunRefused

RUN_FILE = "journal/run.json"
FORMAT = 1
INDEX_VERSIONS = ("1", "2", "3")
"""Of the index: 1 knows no images, 2 counts fewer tilings."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard's name, and where its index, content and tokens lie in the folder."""

    name: str
    index: str
    content: str
    tokens: str


@dataclass(frozen=True)
class RunFolder:
    """A finished run. ``header`` is ``journal/run.json``, ``tokenizer`` the folder of its files."""

    uri: str
    header: dict[str, Any]
    shards: tuple[Shard, ...]
    tokenizer: str
    specials: dict[str, int]
    _files: pafs.FileSystem = field(repr=False)
    _root: str

    @classmethod
    def load(cls, uri: str | Path) -> RunFolder:
        """Open a run: a local folder, or a URI that pyarrow's file systems reach.

        Raises
        ------
        RunRefused
            If there is none, its build has not finished, or its journal is damaged.
        """
        uri = str(uri)
        if "://" in uri:
            files, root = pafs.FileSystem.from_uri(uri)
        else:
            files, root = pafs.LocalFileSystem(), uri
        try:
            header = orjson.loads(_read(files, f"{root}/{RUN_FILE}"))
        except FileNotFoundError:
            raise RunRefused(
                f"{uri}: found no {RUN_FILE}, expected a finished run; "
                f"run `python -m dataflow build RECIPE --out {uri}`"
            ) from None
        except orjson.JSONDecodeError as error:
            raise RunRefused(
                f"{uri}: {RUN_FILE} is damaged ({error}); run the build again"
            ) from None
        if header.get("format") != FORMAT:
            raise RunRefused(
                f"{uri}: found run format {header.get('format')}, expected {FORMAT}; build it "
                "again with this version"
            )

        def record(key: str) -> dict[str, Any]:
            return _record(files, root, uri, key)

        shards = []
        for shard in header["shards"]:
            pack, tokenize = record(shard["pack"]), record(shard["tokenize"])
            paths = (tokenize["index"], pack["shard"], tokenize["shard"])
            shards.append(Shard(shard["name"], *(path["path"] for path in paths)))
        learnt = _whole_record(files, root, uri, header["tokenizer"])
        specials = dict(learnt["stats"]["specials"])
        return cls(
            uri, header, tuple(shards), f"tokenizer/{learnt['stats']['hash']}", specials,
            files, root,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """What the recipe calls it."""
        return str(self.header["name"])

    def open(self, path: str) -> pa.NativeFile:
        """A file of the run for random reads."""
        return self._files.open_input_file(f"{self._root}/{path}")

    def read(self, path: str) -> bytes:
        """A file of the run, whole."""
        return _read(self._files, f"{self._root}/{path}")

    def index(self, columns: list[str]) -> Iterator[tuple[Shard, pa.Table]]:
        """The named columns of each shard's index; one that its version lacks is left out.

        A dotted name is a field of a nested column, as Parquet has it.

        Raises
        ------
        RunRefused
            If a file is no index, or one of a later version.
        """
        for shard in self.shards:
            try:
                with self.open(shard.index) as stream:
                    file = pq.ParquetFile(stream)
                    self._check(file.schema_arrow.metadata or {}, shard.index)
                    names = file.schema_arrow.names
                    there = [name for name in columns if name.partition(".")[0] in names]
                    yield shard, file.read(there, use_threads=False)
            except pa.ArrowInvalid as error:
                raise RunRefused(
                    f"{self.uri}/{shard.index}: found {error}, expected a Parquet file; "
                    f"`python -m dataflow verify {self.uri}` says what else is damaged"
                ) from None

    def _check(self, metadata: dict[bytes, bytes], path: str) -> None:
        table = metadata.get(b"leyden.table", b"").decode()
        version = metadata.get(b"leyden.version", b"").decode()
        if table != "index" or version not in INDEX_VERSIONS:
            raise RunRefused(
                f"{self.uri}/{path}: found table {table!r} of version {version or 'none'}, expected "
                f"an index of version {', '.join(INDEX_VERSIONS)}; build the run again with this "
                "version"
            )


def _read(files: pafs.FileSystem, path: str) -> bytes:
    with files.open_input_stream(path) as stream:
        return bytes(stream.read())


def _record(files: pafs.FileSystem, root: str, uri: str, key: str) -> dict[str, Any]:
    """The outputs of a record, by role."""
    outputs: dict[str, Any] = _whole_record(files, root, uri, key)["outputs"]
    return outputs


def _whole_record(files: pafs.FileSystem, root: str, uri: str, key: str) -> dict[str, Any]:
    path = f"journal/records/{key[:2]}/{key}.json"
    try:
        body, digest, rest = _read(files, f"{root}/{path}").split(b"\n")
    except FileNotFoundError:
        raise RunRefused(
            f"{uri}: the journal has no record {key} that the run names; run the build again, it "
            "makes what is missing"
        ) from None
    except ValueError:
        body, digest, rest = b"", b"", b""
    if rest or blake3(body).hexdigest().encode() != digest:
        raise RunRefused(f"{uri}/{path}: found a damaged record; run the build again, it is made")
    found: dict[str, Any] = orjson.loads(body)
    return found
