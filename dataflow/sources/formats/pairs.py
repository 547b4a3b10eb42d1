"""Image-caption pairs: one document each, whatever the file they came in.

The document's text is the image's mark, a newline, and the caption. Where a pair has both a raw and
a refined caption, one of them is the text by even odds, from the image's digest and the source's
seed (``vl_data.mix.captions``); both are in the metadata. A source's table of captions says refined
ones too, and its own odds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import xxhash

from dataflow.sources.formats.picture import pictures_of, unmarked
from dataflow.sources.formats.rows import lookup, metadata_of, seconds
from dataflow.sources.labels import refined_of
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Fields, Picture, Record, SourceSpec
from vl_data.images import MARK
from vl_data.mix.captions import REFINED_SHARE, caption_text, draw_caption
from vl_data.mix.refusals import SampleRefused
from vl_data.mix.turns import TAG

IMAGES = ("image", "jpg", "png", "webp", "jpeg", "img", "images", "image_path", "file_name")
"""Columns that hold the image where the recipe names none: usual names, img2dataset's among them
(the format it was asked to encode to)."""

CAPTIONS = ("caption", "captions", "txt")
REFINED = ("refined", "refined_caption", "recaption")
ALTS = ("alt", "alt_text")


class Found(NamedTuple):
    """An image as its source has it: the bytes, and its source-relative name."""

    data: bytes
    ref: str


def image_column(row: Mapping[str, Any], fields: Fields) -> str | None:
    """The path of the value that holds a row's image or images; None without one."""
    names = (fields.image,) if fields.image else IMAGES
    return next((name for name in names if lookup(row, name) is not None), None)


def record_of(
    found: Sequence[Found],
    row: Mapping[str, Any],
    spec: SourceSpec,
    uri: str,
    offset: int,
    kind: str,
    license_id: str = "",
) -> Record:
    """The record of a pair whose text and metadata are in ``row``.

    A row without a caption column but with a text takes the text: with one ``<image>`` an image
    where it has any, else as a caption.

    Raises
    ------
    Refusal
        ``missing-field`` without a caption, ``empty-answer`` for one that says nothing,
        ``marks-differ``, or what is wrong with an image: a pair without its image is none.
    """
    fields = spec.fields
    raw = _text(row, (fields.caption,) if fields.caption else CAPTIONS)
    refined = _text(row, (fields.refined,) if fields.refined else REFINED)
    alt = _text(row, (fields.alt,) if fields.alt else ALTS)
    whole = _text(row, (fields.text,)) if raw is None and refined is None else None
    said = [c for c in (raw, refined) if c is not None] or [c for c in (whole, alt) if c][:1]
    if not said and spec.captions is None:
        raise _no_caption(row)
    images = pictures_of(found, spec)
    share = REFINED_SHARE
    if spec.captions is not None and not (whole is not None and TAG in whole):
        own = raw if raw is not None else whole
        labelled = refined_of(spec.captions, images, own)
        if labelled is not None:
            raw, refined, share = own, labelled, spec.captions.probability
        if refined is not None:
            said = said or [refined]
        elif not said:
            raise _no_caption(row)
    if whole is not None and TAG in whole:
        text, tied = _placed(whole, len(images)), images
    else:
        caption = _drawn(raw if refined is not None else said[0], refined, images, spec.seed, share)
        text = MARK * (len(images) - 1) + caption_text(caption)
        tied = [Picture(p.data, p.facts, p.ref, alt, caption) for p in images]
    metadata = metadata_of(row, fields, frozenset({image_column(row, fields) or ""}))
    metadata |= {k: v for k, v in (("caption", raw), ("refined", refined)) if v is not None}
    own = lookup(row, fields.license) if fields.license else None
    digest = xxhash.xxh3_128("\0".join([*said, alt or ""]).encode())
    for image in found:
        digest.update(image.data)
    return Record(
        uri=uri,
        offset=offset,
        text=text,
        digest=digest.digest(),
        media_type=kind,
        license=own if isinstance(own, str) and own else license_id or spec.license,
        captured_at=seconds(lookup(row, fields.captured_at)) if fields.captured_at else None,
        encoding="utf-8",
        metadata=metadata or None,
        images=tuple(tied),
    )


def _text(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of some columns that holds text, or a list of texts (of which the first is taken).

    Raises
    ------
    Refusal
        ``encoding`` for bytes that are not UTF-8; captions are too short to guess at.
    """
    for name in names:
        value = lookup(row, name)
        if isinstance(value, (list, tuple)) and value:
            value = value[0]
        if isinstance(value, bytes):
            value = utf8(value, name)
        if isinstance(value, str):
            return value
    return None


def utf8(data: bytes, name: str) -> str:
    """Text of a caption.

    Raises
    ------
    Refusal
        ``encoding`` for anything but UTF-8: too little text to find another encoding by.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"found byte 0x{data[error.start]:02x} at {error.start}"
        raise Refusal("encoding", f"{name}: {found}, expected UTF-8") from None


def _placed(text: str, images: int) -> str:
    parts = unmarked(text).split(TAG)
    if len(parts) - 1 != images:
        found = f"found {len(parts) - 1} marks in the text"
        raise Refusal("marks-differ", f"{found}, expected one for each of {images} images")
    return MARK.join(parts)


def _no_caption(row: Mapping[str, Any]) -> Refusal:
    names = ", ".join(sorted(map(str, row))[:20])
    return Refusal("missing-field", f"found no caption; fields: {names}")


def _drawn(
    raw: str | None, refined: str | None, images: Sequence[Picture], seed: int, share: float
) -> str:
    shown = b"".join(image.facts.digest for image in images)
    try:
        return draw_caption(raw, refined, shown, seed, share).text
    except SampleRefused as refused:
        raise Refusal(refused.reason, refused.detail) from None
