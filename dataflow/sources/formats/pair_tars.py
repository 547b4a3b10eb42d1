"""WebDataset tars, img2dataset's among them: the members that share a key are one pair.

Format: https://github.com/webdataset/webdataset (a key is the name up to the first dot after the
last slash; the members of a sample stand together).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from dataflow.sources.compression import strip_suffix
from dataflow.sources.formats import tar
from dataflow.sources.formats.pairs import Found, record_of, utf8
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcome, Outcomes

MEDIA_TYPE = "application/x-tar"

_IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "tif", "tiff", "bmp", "avif", "jp2")
_TEXTS = {"txt": "caption", "caption": "caption", "text": "caption", "refined": "refined"}
"""Members that are text, and what they are: a ``.json`` member may hold both as well."""


@dataclass
class _Sample:
    key: str
    offset: int
    members: dict[str, bytes | None] = field(default_factory=dict)
    size: int = 0

    def member(self, suffix: str) -> tuple[str, bytes | None]:
        """The suffix and the bytes of ``.suffix``, else of the first ``.anything.suffix``."""
        names = (suffix, *(name for name in self.members if name.endswith(f".{suffix}")))
        found = next((name for name in names if name in self.members), suffix)
        return found, self.members.get(found)


def is_tar(opened: Opened) -> bool:
    """Whether an item is a tar archive, by its name or by what stands in its first header."""
    if strip_suffix(opened.item.uri.lower()).endswith((".tar", ".tgz")):
        return True
    return opened.head(262)[257:262] == b"ustar"


def read(opened: Opened) -> Outcomes:
    """An outcome for each sample and for each damaged place; offsets are those of first members."""
    if opened.item.size == 0:
        raise Refusal("empty")
    for found in _samples(opened):
        if isinstance(found, tar.Damage):
            yield opened.unreadable(found.offset, found.refusal)
        else:
            yield _outcome(opened, found)


def _samples(opened: Opened) -> Iterator[_Sample | tar.Damage]:
    limit = opened.spec.limits.max_record_bytes
    held: _Sample | None = None
    for member in tar.members(opened.stream(), limit):
        if isinstance(member, tar.Damage):
            # The members before are whole, those behind may be of the same sample: not a pair then.
            if held is not None:
                yield held
            held = None
            yield member
            continue
        name = member.name.removeprefix("./")
        if _is_hidden(name):
            continue
        folder, slash, last = name.rpartition("/")
        stem, _, suffix = last.partition(".")
        key = folder + slash + stem
        if held is not None and (key != held.key or suffix in held.members):
            yield held
            held = None
        if held is None:
            held = _Sample(key, member.offset)
        held.size += member.size
        fits = held.size <= limit
        held.members[suffix.lower()] = member.data if fits else None
    if held is not None:
        yield held


def _is_hidden(name: str) -> bool:
    """Whether a member describes the archive (``.nv-meta``, macOS's ``._x``), not a sample."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def _outcome(opened: Opened, sample: _Sample) -> Outcome:
    spec, item = opened.spec, opened.item
    try:
        large = next((s for s, data in sample.members.items() if data is None), None)
        if large is not None:
            limit = spec.limits.max_record_bytes
            name = _shown(f"{sample.key}.{large}")
            raise Refusal("record-too-large", f"{name}: over {limit} bytes a sample")
        row = _row(sample)
        image = _image(sample, row)
        return record_of([image], row, spec, item.uri, sample.offset, MEDIA_TYPE, item.license)
    except Refusal as refusal:
        key = _shown(sample.key)
        detail = refusal.detail
        detail = detail if detail.startswith(key) else f"{key}: {detail}"
        return opened.unreadable(sample.offset, Refusal(refusal.reason, detail.rstrip(": ")))


def _row(sample: _Sample) -> dict[str, Any]:
    """The columns of a sample: its JSON's, and its texts'."""
    row: dict[str, Any] = {}
    described = sample.member("json")[1]
    if described is not None:
        try:
            parsed = orjson.loads(described)
        except orjson.JSONDecodeError as error:
            reason = "encoding" if "UTF-8" in str(error) else "bad-json"
            raise Refusal(reason, f"{_shown(sample.key)}.json: {error}") from None
        if not isinstance(parsed, dict):
            kind = type(parsed).__name__
            raise Refusal(
                "bad-json", f"{_shown(sample.key)}.json: found {kind}, expected an object"
            )
        row |= parsed
    for suffix, name in _TEXTS.items():
        found, text = sample.member(suffix)
        if text is not None:
            row[name] = utf8(text, _shown(f"{sample.key}.{found}"))
    return row


def _image(sample: _Sample, row: dict[str, Any]) -> Found:
    for suffix in _IMAGES:
        found, data = sample.member(suffix)
        if data is not None:
            ref = _shown(f"{sample.key}.{found}")
            if not data:
                raise Refusal("image-empty", f"{ref}: found 0 bytes")
            return Found(data, ref)
    why = row.get("error_message") or row.get("status") or ""
    held = _shown(", ".join(sorted(sample.members)))
    said = f" ({why})" if isinstance(why, str) and why else ""
    raise Refusal("image-missing", f"found {held}, expected an image beside them{said}")


def _shown(name: str) -> str:
    """A name with U+FFFD for what in it is not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
