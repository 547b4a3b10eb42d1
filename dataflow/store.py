"""The run folder as a store of files: local, or anything pyarrow's filesystems reach.

Files are written once, under a name that no other content will have, and are real only when the
journal says so. So whether a file exists never hangs on a rename or a listing, and a run folder may
lie on an object store. (Only the sweep at a build's end lists, to find what crashes left behind.)
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import urlparse

import blake3
import pyarrow as pa
import pyarrow.fs as pafs

BUFFER_BYTES = 1 << 20


class StoreError(Exception):
    """A path of a run folder is not acceptable or not there."""


class HashingWriter(io.RawIOBase):
    """A binary sink that counts and hashes (BLAKE3) what passes through it to ``sink``."""

    def __init__(self, sink: Any) -> None:
        super().__init__()
        self._sink = sink
        self._hash = blake3.blake3()
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self._sink.write(view)
        self.bytes += len(view)
        return len(view)

    def tell(self) -> int:
        return self.bytes

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Store:
    """A run folder.

    Parameters
    ----------
    uri : str
        A local path, or a URI such as ``s3://bucket/runs/name``.
    options : dict
        For ``s3://``: ``endpoint_url``, ``region``, ``access_key``, ``secret_key``. Environment
        variables of the AWS tools serve where these are absent.
    """

    uri: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def local(self) -> Path | None:
        """The folder as a local path, or None when it is remote."""
        return None if "://" in self.uri else Path(self.uri)

    def _remote(self) -> tuple[pafs.FileSystem, str]:
        parsed = urlparse(self.uri)
        if parsed.scheme == "s3":
            where = {
                "endpoint_url": os.environ.get("AWS_ENDPOINT_URL", ""),
                "region": os.environ.get("AWS_REGION", ""),
                **self.options,
            }
            filesystem = _s3_filesystem(tuple(sorted(where.items())))
            return filesystem, f"{parsed.netloc}{parsed.path}".rstrip("/")
        filesystem, root = pafs.FileSystem.from_uri(self.uri)
        return filesystem, root.rstrip("/")

    def _check(self, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
            raise StoreError(f"{path!r} would leave the run folder {self.uri}")
        return path

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[HashingWriter]:
        """Open ``path`` for writing from the start; durable when the block ends without error."""
        self._check(path)
        if self.local is not None:
            target = self.local / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with target.open("wb", buffering=BUFFER_BYTES) as raw:
                    yield HashingWriter(raw)
                    raw.flush()
                    os.fsync(raw.fileno())
            except BaseException:
                # Half a file is of no use, and on a full disk its room is.
                target.unlink(missing_ok=True)
                raise
            return
        filesystem, root = self._remote()
        if not isinstance(filesystem, pafs.S3FileSystem):
            filesystem.create_dir(str(PurePosixPath(root, path).parent), recursive=True)
        with filesystem.open_output_stream(f"{root}/{path}") as stream:
            yield HashingWriter(stream)

    def open(self, path: str) -> pa.NativeFile:
        """Open ``path`` for random reads.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        """
        self._check(path)
        if self.local is not None:
            return pa.OSFile(str(self.local / path), "rb")
        filesystem, root = self._remote()
        return filesystem.open_input_file(f"{root}/{path}")

    def stream(self, path: str) -> BinaryIO:
        """Open ``path`` for many small reads, one after another: it is read ahead in blocks.

        Without it every header of a tar on an object store would be a request.
        """
        # A NativeFile has all that BufferedReader asks of a raw file, but not its type.
        raw = cast(io.RawIOBase, self.open(path))
        return cast(BinaryIO, io.BufferedReader(raw, BUFFER_BYTES))

    def map(self, path: str) -> pa.NativeFile:
        """Open ``path`` memory-mapped when it is local, as plain random reads otherwise."""
        self._check(path)
        if self.local is not None:
            return pa.memory_map(str(self.local / path), "r")
        return self.open(path)

    def read(self, path: str) -> bytes:
        """All bytes of ``path``."""
        with self.open(path) as stream:
            return cast(bytes, stream.read())

    def write(self, path: str, data: bytes) -> None:
        """Replace ``path`` by ``data``. For the few files that are not content-addressed.

        Locally it goes by way of a temporary name, so that a reader in another terminal never
        sees half of it; an object store replaces in one step anyway.
        """
        self._check(path)
        if self.local is None:
            with self.create(path) as sink:
                sink.write(data)
            return
        target = self.local / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def create_exclusive(self, path: str, data: bytes) -> bool:
        """Write ``path`` unless it is already there. True when this call wrote it.

        On an object store two writers may both write; they write the same bytes.
        """
        self._check(path)
        if self.local is not None:
            target = self.local / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with target.open("xb") as raw:
                    raw.write(data)
                    raw.flush()
                    os.fsync(raw.fileno())
            except FileExistsError:
                return False
            return True
        if self.size(path) is not None:
            return False
        with self.create(path) as sink:
            sink.write(data)
        return True

    def size(self, path: str) -> int | None:
        """The size of ``path`` in bytes, or None when it is not there."""
        self._check(path)
        if self.local is not None:
            try:
                return (self.local / path).stat().st_size
            except FileNotFoundError:
                return None
        filesystem, root = self._remote()
        info = filesystem.get_file_info(f"{root}/{path}")
        return None if info.type != pafs.FileType.File else int(info.size)

    def list(self, folder: str) -> list[str]:
        """All files under ``folder``, sorted; for cleaning up, never to learn what exists."""
        self._check(folder)
        if self.local is not None:
            found = (self.local / folder).rglob("*")
            return sorted(p.relative_to(self.local).as_posix() for p in found if p.is_file())
        filesystem, root = self._remote()
        selector = pafs.FileSelector(f"{root}/{folder}", recursive=True, allow_not_found=True)
        infos = filesystem.get_file_info(selector)
        return sorted(
            info.path.removeprefix(f"{root}/") for info in infos if info.type == pafs.FileType.File
        )

    def remove_empty(self, folder: str) -> None:
        """Remove ``folder`` and those below it that hold no file (object stores have none)."""
        self._check(folder)
        if self.local is None or not (self.local / folder).is_dir():
            return
        for parent, _, _ in os.walk(self.local / folder, topdown=False):
            with contextlib.suppress(OSError):  # it holds something
                Path(parent).rmdir()

    def delete(self, path: str) -> None:
        """Remove ``path`` if it is there."""
        self._check(path)
        if self.local is not None:
            (self.local / path).unlink(missing_ok=True)
            return
        filesystem, root = self._remote()
        with contextlib.suppress(FileNotFoundError):
            filesystem.delete_file(f"{root}/{path}")


@functools.lru_cache(maxsize=16)
def _s3_filesystem(options: tuple[tuple[str, str], ...]) -> pafs.S3FileSystem:
    """The S3 client of a store's options; one a process, because it keeps its connections."""
    found = dict(options)
    # A small file is then one request instead of the three of a multipart upload.
    arguments: dict[str, Any] = {"allow_delayed_open": True}
    if found["endpoint_url"]:
        target = urlparse(found["endpoint_url"])
        arguments |= {"endpoint_override": target.netloc, "scheme": target.scheme}
    if found.get("access_key"):
        arguments["access_key"] = found["access_key"]
        arguments["secret_key"] = found.get("secret_key", "")
    if found["region"] or found["endpoint_url"]:
        arguments["region"] = found["region"] or "us-east-1"
    return pafs.S3FileSystem(**arguments)


def as_binary(stream: pa.NativeFile) -> BinaryIO:
    """The stream, typed as the binary file that it behaves like."""
    return cast(BinaryIO, stream)
