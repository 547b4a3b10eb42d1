"""Files that lie beside an item and that it names: the images of a page or of a list of pairs.

Only the source's own folder is read; addresses of the web never are.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

import orjson
import xxhash

from dataflow.sources.compression import read_whole, strip_suffix
from dataflow.sources.filesystems import is_remote, local_path, open_local, open_remote, stamp
from dataflow.sources.patterns import split_pattern
from dataflow.sources.refusal import REASONS, Refusal
from dataflow.sources.spec import Item, SourceSpec

_WEB = ("http", "https")
_IMAGES = tuple(
    ".jpg .jpeg .jfif .png .gif .webp .tif .tiff .bmp .avif .jp2 .j2k .svg .xpm .ico".split()
)
_NAMING = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".tab", ".parquet", ".pq", ".arrow")
"""Files of image-text pairs and conversations that may name images beside them; tars do not."""


class Beside:
    """The files beside ``item``.

    Attributes
    ----------
    folder: the folder of the item, as its uri has it: where relative names start.
    """

    def __init__(self, spec: SourceSpec, item: Item) -> None:
        self._spec = spec
        self._remote = is_remote(item.locator)
        if self._remote:
            scheme, _, path = item.locator.partition("://")
            self._web = scheme in _WEB
            self._root = f"{scheme}:/"
            self._above = _listed(spec, item.locator).partition("://")[2]
            self.folder = posixpath.dirname(path)
        else:
            self._web = False
            self._root, self._above = _shared_end(item)
            self.folder = posixpath.dirname(item.uri)

    def name_of(self, path: str) -> str:
        """The source-relative name of ``path``, which is relative to the item.

        Raises
        ------
        Refusal
            ``image-missing`` for an absolute path, or one that leaves the source's folder.
        """
        if path.startswith("/"):
            name = posixpath.basename(path)
            raise Refusal("image-missing", f"{name}: found an absolute path, expected a relative")
        return self.inside(posixpath.join(self.folder, path))

    def inside(self, name: str) -> str:
        """A source-relative name without detours; ``Refusal`` as ``name_of``."""
        plain = posixpath.normpath(name)
        if plain.startswith("..") or not plain.startswith(self._above):
            raise Refusal("image-missing", f"{name}: lies outside of the source's folder")
        return plain

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of the file whose source-relative name ``name_of`` gave.

        Raises
        ------
        Refusal
            ``image-missing``, or ``image-too-large`` for more than ``limit`` bytes.
        """
        if self._web:
            raise Refusal("image-missing", f"{name}: nothing is fetched from the web")
        if "\0" in name:
            raise Refusal("image-missing", f"{name!r}: no name of a file")
        try:
            if self._remote:
                stream = open_remote(f"{self._root}/{name}", self._spec.storage)
            else:
                path = name.removeprefix(self._above)
                escaped = self._root.startswith("file://")  # which ``open_local`` undoes
                stream = open_local(f"{self._root}/{quote(path) if escaped else path}")
        except Refusal as refusal:
            gone = refusal.reason == "vanished"
            why = "there is no such file" if gone else REASONS[refusal.reason]
            raise Refusal("image-missing", f"{name}: {why}") from None
        with stream:
            try:
                return read_whole(stream, limit)
            except Refusal:
                detail = f"{name}: expected at most {limit} bytes, found more"
                raise Refusal("image-too-large", detail) from None
            except OSError as error:
                raise Refusal("image-missing", f"{name}: {type(error).__name__}") from None


def _listed(spec: SourceSpec, locator: str) -> str:
    """The remote folder that the source's path names or starts in, of which the item is."""
    found = [posixpath.dirname(locator)]
    for path in spec.paths:
        prefix = split_pattern(path)[0].rstrip("/")
        if locator.startswith(prefix + "/"):
            found.append(prefix)
    return min(found, key=len) + "/"


def _shared_end(item: Item) -> tuple[str, str]:
    """The local folder that the item's uri starts at, and what the uri has before that folder.

    Both are the same for ``files``; the uri of a file of an installed distribution has a name in
    front that is no folder.
    """
    locator = item.locator
    if locator.startswith("file://"):
        # Not Unicode: percent-escaped bytes, which ``open_local`` undoes.
        locator = locator.removeprefix("file://")
        prefix = "file://"
    else:
        prefix = ""
    here, there = PurePosixPath(locator).parts, PurePosixPath(item.uri).parts
    same = 0
    while same < min(len(here), len(there)) and _same(here[-1 - same], there[-1 - same], prefix):
        same += 1
    same = max(same, 1)
    root = prefix + str(PurePosixPath(*here[: len(here) - same]))
    above = "/".join(there[: len(there) - same])
    return root.rstrip("/"), above + "/" if above else ""


def _same(local: str, name: str, prefix: str) -> bool:
    return local == name or (bool(prefix) and unquote(local) == name)


def with_images_beside(spec: SourceSpec, items: Iterable[Item]) -> Iterator[Item]:
    """``items``, of which those that may name images beside them change when any image does.

    Which images an item names is not known before it is read: names, sizes and times of all images
    in the local folders of the source go into one digest. Images on remote storage are taken not to
    change under their names.
    """
    digest: str | None = None
    for item in items:
        if not item.reason and not is_remote(item.locator) and _names_images(spec, item):
            if digest is None:
                digest = _images_digest(spec)
            item = replace(item, beside=digest)
        yield item


def _names_images(spec: SourceSpec, item: Item) -> bool:
    if item.format in ("image-text", "llava"):
        return strip_suffix(item.uri.lower()).endswith(_NAMING)
    return spec.html == "interleaved" and item.format in ("html", "auto")


def _images_digest(spec: SourceSpec) -> str:
    folders = set()
    for path in spec.paths:
        if not is_remote(path):
            prefix, rest = split_pattern(local_path(path, spec.base))
            folders.add(prefix if rest or Path(prefix).is_dir() else posixpath.dirname(prefix))
    rows = []
    for folder in sorted(folders):
        for inside, _, names in os.walk(folder):
            for name in names:
                if name.lower().endswith(_IMAGES):
                    path = os.path.join(inside, name)  # noqa: PTH118 (many, and bytes in names)
                    try:
                        rows.append([os.path.relpath(path, folder), stamp(os.stat(path))])  # noqa: PTH116
                    except OSError:
                        continue  # gone or a dangling link: as good as not there, now and later
    rows.sort()
    encoded = [[os.fsencode(name).hex(), found] for name, found in rows]
    return xxhash.xxh3_128_hexdigest(orjson.dumps(encoded))
