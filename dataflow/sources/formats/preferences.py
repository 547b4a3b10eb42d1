"""``preferences``: pairs of answers to one prompt, as JSON, JSON Lines, Parquet or Arrow.

A row has ``prompt`` (a question, or turns in the forms of ``llava``), ``chosen`` and ``rejected``
(text, or a list of one turn), where it shows images ``image`` or ``images`` as ``llava`` has them,
and where the answers were judged ``chosen_score`` and ``rejected_score``. A pair is one document
(``vl_data.mix.preferences``): what chooses, splits and packs documents never parts its halves. The
scores and the gap between them go to its metadata, where the signal ``preference.gap`` finds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from dataflow.preferences import KEY
from dataflow.sources.formats.beside import Beside
from dataflow.sources.formats.llava import read_rows, shown_by
from dataflow.sources.formats.pairs import Found, image_column
from dataflow.sources.formats.picture import pictures_of
from dataflow.sources.formats.rows import lookup, metadata_of, seconds
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcomes, Record, SourceSpec
from vl_data.mix.preferences import answer_of, pair_of, prompt_of

_SCORES = ("chosen_score", "rejected_score")
_OWN = frozenset(("prompt", "chosen", "rejected", *_SCORES))


def read(opened: Opened) -> Outcomes:
    """An outcome a pair; offsets as of ``llava``."""
    return read_rows(opened, _record)


def _record(
    opened: Opened, row: Mapping[str, Any], offset: int, kind: str, beside: Beside
) -> Record:
    spec, item = opened.spec, opened.item
    prompt_of(row)  # first: of a row without a prompt no image is read
    found = shown_by(row, beside, spec)
    return record_of(found, row, spec, item.uri, offset, kind, item.license)


def record_of(
    found: Sequence[Found],
    row: Mapping[str, Any],
    spec: SourceSpec,
    uri: str,
    offset: int,
    kind: str,
    license_id: str = "",
) -> Record:
    """The record of a pair about the images that were found for its row.

    Raises
    ------
    SampleRefused
        What is wrong with its prompt or answers.
    Refusal
        What is wrong with an image or a score.
    """
    fields = spec.fields
    prompt = prompt_of(row)
    answers = [answer_of(row, field) for field in ("chosen", "rejected")]
    scores = _scores(row)
    pair = pair_of(prompt, answers[0], answers[1], len(found))  # first: it costs no decoding
    images = tuple(pictures_of(found, spec))
    said = [part for turn in prompt for part in turn] + answers
    digest = xxhash.xxh3_128("\0".join(said).encode())
    for image in found:
        digest.update(image.data)
    own = lookup(row, fields.license) if fields.license else None
    metadata = metadata_of(row, fields, _OWN | {image_column(row, fields) or ""})
    if scores:
        metadata[KEY] = scores
    return Record(
        uri=uri,
        offset=offset,
        text=pair.text,
        digest=digest.digest(),
        media_type=kind,
        license=own if isinstance(own, str) and own else license_id or spec.license,
        captured_at=seconds(lookup(row, fields.captured_at)) if fields.captured_at else None,
        encoding="utf-8",
        metadata=metadata or None,
        images=images * 2,
        loss=pair.loss,
    )


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    """The scores that a row has, and their gap where it has both.

    Raises
    ------
    Refusal
        ``missing-field`` for a score that is no finite number.
    """
    scores: dict[str, float] = {}
    for name in _SCORES:
        value = row.get(name)
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise Refusal("missing-field", f"{name}: found {value!r}, expected a finite number")
        scores[name.removesuffix("_score")] = float(value)
    if len(scores) == len(_SCORES):
        scores["gap"] = scores["chosen"] - scores["rejected"]
    return scores
