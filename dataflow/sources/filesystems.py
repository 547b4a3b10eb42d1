"""Files here and elsewhere: list what a pattern matches, open what was listed.

Local paths go through the operating system, ``s3://`` and ``gs://`` through pyarrow.fs, every other
scheme (``hf://``, ``https://``, ``memory://`` …) through fsspec. A remote failure other than "not
there" or "not allowed" concerns the whole run and raises ``SourceError``, so that a bad network
never turns into missing documents.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import quote, unquote_to_bytes, urlsplit

import fsspec
import pyarrow.fs as pafs

from dataflow.sources.patterns import matcher, split_pattern
from dataflow.sources.refusal import Refusal, from_os_error
from dataflow.sources.spec import PlanError, SourceError

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]+)://")
_PYARROW = ("s3", "gs", "gcs")
_PYARROW_OPTIONS = ("endpoint_url", "region", "anonymous")
Storage = Mapping[str, str | bool]


class Found(NamedTuple):
    """A file, or the reason why something listed cannot be one."""

    uri: str
    locator: str
    size: int = -1
    fingerprint: str = ""
    license: str = ""
    reason: str = ""
    detail: str = ""


def is_remote(path: str) -> bool:
    """Whether ``path`` is a URI of something else than a local file."""
    match = _SCHEME.match(path)
    return match is not None and match[1] != "file"


def local_path(path: str, base: str) -> str:
    """An absolute local path for a path, ``file://`` URI or path relative to ``base``."""
    path = path.removeprefix("file://")
    return str(Path(base, Path(path).expanduser()).absolute())


def stamp(info: os.stat_result) -> str:
    """The fingerprint of a local file: size and modification time in nanoseconds."""
    return f"{info.st_size}-{info.st_mtime_ns}"


def portable(name: str) -> str:
    """A file name as valid Unicode: bytes that are not UTF-8 become percent escapes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(name)
        return "".join(
            c if not 0xDC80 <= ord(c) <= 0xDCFF else f"%{ord(c) - 0xDC00:02X}"
            for c in raw.decode("utf-8", "surrogateescape")
        )
    return name


def _locator(path: str) -> str:
    """A path as JSON can hold it: a percent-escaped ``file://`` URI where it is not Unicode."""
    return path if path.isprintable() else "file://" + quote(os.fsencode(path))


# ---- local ---------------------------------------------------------------------------------------


def list_local(pattern: str, root: str) -> Iterator[Found]:
    """Files that an absolute ``pattern`` matches; uris are relative to ``root``.

    Links to files are followed, links to folders are not: each gives a row of its own. Hidden names
    are left out unless the pattern spells the dot.
    """
    prefix, rest = split_pattern(pattern)
    uri = portable(os.path.relpath(prefix, root))
    if not rest:
        try:
            info = os.stat(prefix)  # noqa: PTH116 (one call for all kinds)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                return
            yield _refused(uri, prefix, from_os_error(error))
            return
        if not stat.S_ISDIR(info.st_mode):
            yield _classify(uri, prefix, info)
            return
        rest = "**"
    wanted = matcher(rest)
    hidden = "/." in "/" + rest
    folders = [("", prefix)]
    while folders:
        inside, folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except NotADirectoryError:
            continue
        except OSError as error:
            if inside or not isinstance(error, FileNotFoundError):
                yield _refused(_under(root, folder) + "/", folder, from_os_error(error))
            continue
        for entry in entries:
            if entry.name == "__pycache__" or (entry.name.startswith(".") and not hidden):
                continue
            relative = inside + entry.name
            uri = _under(root, entry.path)
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append((relative + "/", entry.path))
                elif entry.is_symlink() and entry.is_dir():
                    yield Found(
                        uri, _locator(entry.path), reason="directory-link", detail="not followed"
                    )
                elif wanted(portable(relative)):
                    yield _classify(uri, entry.path, entry.stat())
            except OSError as error:
                yield _refused(uri, entry.path, from_os_error(error))


def _under(root: str, path: str) -> str:
    return portable(os.path.relpath(path, root))


def _refused(uri: str, locator: str, refusal: Refusal) -> Found:
    return Found(uri, _locator(locator), reason=refusal.reason, detail=refusal.detail)


def _classify(uri: str, path: str, info: os.stat_result) -> Found:
    if not stat.S_ISREG(info.st_mode):
        kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        kind = kinds.get(stat.S_IFMT(info.st_mode), "device")
        return Found(uri, _locator(path), reason="special-file", detail=kind)
    if not os.access(path, os.R_OK):  # found now, so that the plan changes when it is mended
        return _refused(uri, path, from_os_error(PermissionError()))
    return Found(uri, _locator(path), info.st_size, stamp(info))


def open_local(path: str) -> BinaryIO:
    """Open a regular file; never blocks on a pipe that took its place."""
    where = unquote_to_bytes(path.removeprefix("file://")) if path.startswith("file://") else path
    try:
        handle = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise from_os_error(error) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Refusal("special-file", "became something else than a file")
    return os.fdopen(handle, "rb")


# ---- remote --------------------------------------------------------------------------------------


def list_remote(pattern: str, storage: Storage) -> Iterator[Found]:
    """Files that a URI pattern matches; a uri is the whole URI."""
    prefix, rest = split_pattern(pattern)
    scheme = urlsplit(pattern).scheme
    if scheme in ("http", "https"):
        if rest:
            raise PlanError(f"{pattern}: {scheme} has no listing; give the addresses one by one")
        yield _http(pattern, storage)
        return
    wanted = matcher(rest or "**")
    top = prefix.split("://", 1)[1].rstrip("/")
    rows = _list_pyarrow if scheme in _PYARROW else _list_fsspec
    for path, size, fingerprint in sorted(rows(scheme, top, storage)):
        if (path == top and not rest) or (
            path.startswith(top + "/") and wanted(path[len(top) + 1 :])
        ):
            uri = f"{scheme}://{path}"
            yield Found(uri, uri, size, fingerprint)


def _list_pyarrow(scheme: str, top: str, storage: Storage) -> list[tuple[str, int, str]]:
    files = pyarrow_filesystem(scheme, tuple(sorted(storage.items())))
    try:
        info = files.get_file_info(top)
        found = [info]
        if info.type != pafs.FileType.File:
            found = files.get_file_info(
                pafs.FileSelector(top, recursive=True, allow_not_found=True)
            )
    except OSError as error:
        raise SourceError(f"{scheme}://{top}: {error}") from error
    files_only = [i for i in found if i.type == pafs.FileType.File]
    return [(i.path, i.size or 0, f"{i.size}-{i.mtime_ns}") for i in files_only]


def _list_fsspec(scheme: str, top: str, storage: Storage) -> list[tuple[str, int, str]]:
    files = fsspec_filesystem(scheme, tuple(sorted(storage.items())))
    try:
        found: dict[str, dict[str, Any]] = files.find(top, detail=True)
    except FileNotFoundError:
        return []
    except Exception as error:  # each filesystem raises classes of its own
        raise SourceError(f"{scheme}://{top}: {error}") from error
    rows = []
    for path, info in found.items():
        size = int(info.get("size") or 0)
        rows.append((path.lstrip("/"), size, _fingerprint(info)))
    top = top.lstrip("/")
    return rows


def _fingerprint(info: Mapping[str, Any]) -> str:
    for key in ("ETag", "etag", "sha256", "blob_id", "md5Hash", "LastModified", "mtime", "created"):
        if info.get(key):
            return f"{info.get('size')}-{info[key]}"
    return f"{info.get('size')}"


def _http(url: str, storage: Storage) -> Found:
    files = fsspec_filesystem(urlsplit(url).scheme, tuple(sorted(storage.items())))
    try:
        info = files.info(url)
    except FileNotFoundError as error:  # also raised where no server answers
        status = getattr(error.__cause__, "status", None)
        if status not in (404, 410):
            raise SourceError(f"{url}: {error.__cause__ or error}") from error
        return Found(url, url, reason="vanished", detail=f"HTTP {status}")
    except Exception as error:  # each filesystem raises classes of its own
        raise SourceError(f"{url}: {error}") from error
    return Found(url, url, info.get("size") or -1, _fingerprint(info))


@lru_cache(maxsize=16)
def pyarrow_filesystem(scheme: str, storage: tuple[tuple[str, str | bool], ...]) -> Any:
    """The pyarrow filesystem of ``s3`` or ``gs`` with a source's storage options."""
    options = dict(storage)
    if unknown := sorted(set(options) - set(_PYARROW_OPTIONS)):
        raise PlanError(f"storage: unknown key {unknown[0]!r}, expected one of {_PYARROW_OPTIONS}")
    anonymous = bool(options.get("anonymous", False))
    endpoint = str(options.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL") or "")
    if scheme != "s3":
        return pafs.GcsFileSystem(anonymous=anonymous)
    arguments: dict[str, Any] = {"anonymous": anonymous}
    if endpoint:
        parts = urlsplit(endpoint)
        arguments |= {"endpoint_override": parts.netloc, "scheme": parts.scheme or "https"}
    if region := options.get("region"):
        arguments["region"] = region
    return pafs.S3FileSystem(**arguments)


@lru_cache(maxsize=16)
def fsspec_filesystem(scheme: str, storage: tuple[tuple[str, str | bool], ...]) -> Any:
    """The fsspec filesystem of a scheme; storage options are passed on as they are."""
    try:
        return fsspec.filesystem(scheme, **dict(storage))
    except (ImportError, ValueError) as error:
        raise PlanError(f"{scheme}://: {error}; install the package it names") from error


def open_remote(locator: str, storage: Storage) -> BinaryIO:
    """Open a remote file.

    Raises
    ------
    Refusal
        ``vanished`` or ``permission``.
    SourceError
        Any other failure, then and while reading.
    """
    scheme, path = locator.split("://", 1)
    options = tuple(sorted(storage.items()))
    try:
        if scheme in _PYARROW:
            opened = pyarrow_filesystem(scheme, options).open_input_file(path)
        else:
            where = locator if scheme in ("http", "https") else path
            opened = fsspec_filesystem(scheme, options).open(where, "rb")
    except (FileNotFoundError, PermissionError) as error:
        raise from_os_error(error) from None
    except PlanError:
        raise
    except Exception as error:  # each filesystem raises classes of its own
        raise SourceError(f"{locator}: {error}") from error
    return cast(BinaryIO, _Guarded(opened, locator))


class _Guarded(RawIOBase):
    """A remote file whose failures are ``SourceError``, whatever class its library raises."""

    def __init__(self, inner: Any, locator: str) -> None:
        self._inner = inner
        self._locator = locator

    def _call(self, method: str, *arguments: int) -> Any:
        try:
            return getattr(self._inner, method)(*arguments)
        except Exception as error:  # each filesystem raises classes of its own
            raise SourceError(f"{self._locator}: {error}") from error

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._call("read") if size < 0 else self._call("read", size)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._call("seek", offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._call("tell"))

    def size(self) -> int:
        """Bytes of the file; pyarrow asks for it."""
        here = self.tell()
        end = self.seek(0, 2)
        self.seek(here)
        return end

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._inner.seekable())

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()
