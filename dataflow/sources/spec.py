"""What a source is, what it is cut into, and what reading it gives: the types of this folder.

Everything here is frozen and survives a trip through JSON, because plans are stored in the journal
and specs are sent to workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

import orjson
import xxhash

from vl_data.images import Facts
from vl_data.limits import Limits as ImageLimits

KINDS = ("files", "distributions", "stdlib", "synthesised")
"""Where documents come from. Where files lie has a module in ``dataflow.sources.locations``;
``synthesised`` has none: ``dataflow.sources.synthesised`` makes its documents."""

HTML_EXTRACTORS = ("resiliparse", "trafilatura", "interleaved")

OUT_OF_SCOPE = frozenset(
    {
        "directory-link",
        "empty",
        "http-status",
        "image-aspect",
        "image-too-small",
        "media-type",
        "no-text",
        "over-length",
        "revisit",
    }
)
"""Reasons that are no fault of the data: they count as unreadable, not against the error budget."""


class PlanError(ValueError):
    """A source cannot be planned: the message names the source, the path and what to do."""


class SourceError(RuntimeError):
    """A partition cannot be read for a reason that concerns the whole run, not one record."""


@dataclass(frozen=True)
class Fields:
    """Which columns of JSONL, Parquet and Arrow rows mean what; dots reach into nested objects.

    ``text`` is required in every row. The others are used where a row has them: ``license`` and
    ``captured_at`` (ISO 8601 string, timestamp, or epoch seconds) fill the documents' columns,
    ``id``, ``url`` and each name in ``metadata`` go to the documents' metadata. ``image``,
    ``caption``, ``refined`` and ``alt`` are those of rows with images; None: the usual names.
    """

    text: str = "text"
    id: str | None = None
    url: str | None = None
    license: str | None = None
    captured_at: str | None = None
    metadata: tuple[str, ...] = ()
    image: str | None = None
    caption: str | None = None
    refined: str | None = None
    alt: str | None = None


@dataclass(frozen=True)
class Sample:
    """Keep files, ordered by the hash of their content mixed with ``seed``, up to ``bytes``."""

    bytes: int
    seed: int = 0


@dataclass(frozen=True)
class Limits:
    """Work budgets, in counted units so that a slow machine reads the same as a fast one."""

    max_record_bytes: int = 128 << 20
    """One record (line, HTTP body, file) after decompression."""
    max_expansion: int = 200
    """Decompressed bytes of a file per compressed byte, beyond the first ``max_record_bytes``."""
    max_html_bytes: int = 64 << 20
    max_html_tags: int = 2_000_000
    max_html_depth: int = 512
    """Elements open at once, counted before parsing in pages of over 4,000 tags or 256 KiB (smaller
    ones do no harm at any depth); browsers stop at 512 too."""
    max_html_work: int = 50_000_000
    """Sum over elements of how deep they lie, and comparisons of attributes: what takes time."""
    max_html_reopened: int = 2_000_000
    """Elements that the parser would make by opening unclosed formatting again."""
    max_html_images: int = 10_000
    """Images of a page that is read with its images."""
    max_pdf_pages: int = 20_000


@dataclass(frozen=True)
class Synthesis:
    """What a source of kind ``synthesised`` makes, by numbers from 0 on.

    Attributes
    ----------
    form: a name of ``dataflow.sources.synthesised.forms.FORMS``.
    count: how many documents.
    size, families, aspects, split: as ``vl_data.synthesis.synthesise.Settings`` has them; no
        families: all that can be read at the size. The seed is the source's.
    text: a local file of JSON lines with ``id`` and ``text``, whose words pictures of text show;
        empty: a list of common nouns. Relative ones start at the spec's ``base``.
    """

    form: str
    count: int
    size: int = 336
    families: tuple[str, ...] = ()
    aspects: Literal["square", "mixed"] = "square"
    split: Literal["train", "heldout"] = "train"
    text: str = ""


@dataclass(frozen=True)
class Fit:
    """How long a conversation may be; one that is longer ends with the last answer that fits.

    Attributes
    ----------
    tokens: ids of the text, with features in the place of images, and the end of the document.
    tiling: a name of ``vl_data.tiling.TILINGS``: what an image's features are counted by.
    tokenizer: the local folder or file of the tokenizer that counts.
    """

    tokens: int
    tiling: str
    tokenizer: str


@dataclass(frozen=True)
class Captions:
    """Captions that a model wrote for the images of a source's pairs.

    Attributes
    ----------
    path: local, of a table of ``vl_data.labels.tables.CAPTIONS``.
    digest: BLAKE3 of that file, in hex.
    probability: of the table's words, where a pair has its own too.
    use: which of the table's words.
    """

    path: str
    digest: str
    probability: float = 0.5
    use: Literal["caption", "description"] = "caption"


@dataclass(frozen=True)
class Damage:
    """What is done to documents on purpose, for studies: ``shuffle_words`` is the share of them,
    chosen by a hash of their text, whose words are put in random order."""

    shuffle_words: float = 0.0


_READING = ("name", "format", "fields", "license", "html", "limits", "images", "pdf_dpi")
"""What of a source shapes its records."""


@dataclass(frozen=True)
class SourceSpec:
    """One source of a recipe.

    Attributes
    ----------
    name: the source's name; part of every ``doc_id``.
    kind: one of ``KINDS``.
    paths: globs, files, folders or URIs (``files`` only). Relative ones start at ``base``.
    distributions: names of installed distributions (``distributions`` only).
    synthesis: what is made (``synthesised`` only).
    format: a name of ``dataflow.sources.formats.FORMATS``, or ``auto`` (by suffix, then content).
    include, exclude: globs over the source-relative uri; ``**`` crosses folders.
    license: SPDX id for records that do not carry one of their own.
    images: what an image of its records may be.
    pdf_dpi: dots an inch at which ``pdf-pages`` draws a page.
    captions: a model's captions for its images (``image-text`` only).
    fit: how long its conversations may be (``llava``, and those that are made).
    damage: what is done to its documents on purpose (plain text only).
    seed: of the choices between a record's captions, and of all that is made.
    storage: options of remote storage: ``endpoint_url``, ``region``, ``anonymous``. Credentials
        come from the environment, never from a recipe.
    """

    name: str
    kind: str = "files"
    paths: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    format: str = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    fields: Fields = field(default_factory=Fields)
    sample: Sample | None = None
    license: str = "unknown"
    html: str = "resiliparse"
    limits: Limits = field(default_factory=Limits)
    images: ImageLimits = field(default_factory=ImageLimits)
    pdf_dpi: int = 144
    captions: Captions | None = None
    fit: Fit | None = None
    damage: Damage | None = None
    seed: int = 0
    synthesis: Synthesis | None = None
    storage: Mapping[str, str | bool] = field(default_factory=dict)
    base: str = "."

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        plain: dict[str, Any] = orjson.loads(orjson.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        values = dict(plain)
        made = values.get("synthesis")
        if made is not None:
            values["synthesis"] = Synthesis(**{**made, "families": tuple(made["families"])})
        for name in ("paths", "distributions", "include", "exclude"):
            values[name] = tuple(values.get(name, ()))
        mapped = dict(values.get("fields") or {})
        mapped["metadata"] = tuple(mapped.get("metadata", ()))
        values["fields"] = Fields(**mapped)
        values["limits"] = Limits(**(values.get("limits") or {}))
        values["images"] = ImageLimits(**(values.get("images") or {}))
        sample = values.get("sample")
        values["sample"] = Sample(**sample) if sample is not None else None
        captions = values.get("captions")
        values["captions"] = Captions(**captions) if captions is not None else None
        fit = values.get("fit")
        values["fit"] = Fit(**fit) if fit is not None else None
        damage = values.get("damage")
        values["damage"] = Damage(**damage) if damage is not None else None
        return cls(**values)

    def reading(self) -> dict[str, Any]:
        """The part of the spec that shapes what ``read`` yields for a given partition.

        It goes into the key of the read step; places, samples and credentials stay outside.
        """
        plain = self.to_json()
        # Only pairs choose between captions: another seed is no reason to read all else again.
        names = (*_READING, "seed") if self.format == "image-text" else _READING
        found = {name: plain[name] for name in names}
        if self.captions is not None:
            found["captions"] = {k: v for k, v in plain["captions"].items() if k != "path"}
        if self.fit is not None:  # of the tokenizer counts what it does, not where it lies
            found["fit"] = {"tokens": self.fit.tokens, "tiling": self.fit.tiling}
        if self.damage is not None:
            found["damage"] = plain["damage"]
        return found


@dataclass(frozen=True)
class Item:
    """A file, or a range of one, to read.

    Attributes
    ----------
    uri: source-relative, never a machine path; the same on every machine.
    locator: where it lies here: a local path or a URI with its scheme.
    format: the reader, resolved (``auto`` where only the content can tell).
    size: bytes of the whole file as stored (-1 unknown).
    start, end: the part to read, in the reader's unit: bytes, or row groups of Parquet
        (end -1: to the end of the file).
    fingerprint: what changes when the content does: a digest where one is known, else size and
        modification time, or the ETag.
    license: SPDX id that the location knows for the file, else empty.
    reason, detail: set where planning already found the file unreadable; ``read`` passes it on.
    share: stored bytes that a part of a file covers (-1: all of them).
    beside: for a file that names images beside it, what changes when one of those does.
    """

    uri: str
    locator: str
    format: str
    size: int
    start: int = 0
    end: int = -1
    fingerprint: str = ""
    license: str = ""
    reason: str = ""
    detail: str = ""
    share: int = -1
    beside: str = ""


@dataclass(frozen=True)
class Partition:
    """Items that are read together, by one task, into one documents file."""

    source: str
    index: int
    items: tuple[Item, ...]

    @property
    def name(self) -> str:
        """``{source}-{index:05d}``, the name of the partition's files in the run folder."""
        return f"{self.source}-{self.index:05d}"

    @property
    def bytes(self) -> int:
        """Stored bytes the partition covers (an estimate for row groups)."""
        return sum(item_bytes(item) for item in self.items)

    @property
    def fingerprint(self) -> str:
        """32 hex digits over all items, without locators: an input key for the read step."""
        digest = xxhash.xxh3_128()
        for item in self.items:
            row = [item.uri, item.format, item.start, item.end, item.fingerprint, item.license]
            beside = [item.beside] if item.beside else []
            digest.update(orjson.dumps([*row, item.reason, item.detail, *beside]))
        return digest.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The partition as plain JSON values."""
        plain: dict[str, Any] = orjson.loads(orjson.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        items = tuple(Item(**item) for item in plain["items"])
        return cls(plain["source"], plain["index"], items)


@dataclass(frozen=True, slots=True)
class Picture:
    """One usable image of a record.

    Attributes
    ----------
    data: the original bytes.
    facts: what they hold (``vl_data.hygiene.inspect``).
    ref: how the record names it, source-relative; never a machine path, never inline data.
    alt, caption: text that the record ties to it.
    """

    data: bytes
    facts: Facts
    ref: str
    alt: str | None = None
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedPicture:
    """One image of an interleaved record that cannot be used; it has no mark in the text.

    ``number`` counts from 0 over all of the record's images, used or not, as the source has them
    (-1: only over the refused ones). ``reason`` is one of ``dataflow.sources.refusal``'s.
    """

    ref: str
    reason: str
    detail: str = ""
    number: int = -1


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of a record that is not in its document, such as the ``part`` ``turn-4`` and on."""

    part: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Record:
    """One document as read.

    Attributes
    ----------
    uri: the item's uri (a page's own address is ``metadata["url"]``: addresses repeat).
    offset: absolute in the file, whatever the partitioning: the byte offset of the record in an
        archive or of the line in decompressed JSONL, the row number in a table, else 0.
    text: valid Unicode, never empty.
    digest: 16 bytes, XXH3-128 of the record's raw bytes.
    captured_at: seconds since the epoch where the source says when it was captured.
    license: SPDX id or expression, or ``unknown``.
    rights: sorted marks, ``robots:noai``, ``tdm:reservation`` and the like.
    parent: (uri, offset) of the record this one is a part of.
    images: one for each ``vl_data.images.MARK`` in the text, in their order. Where there are any, a
        mark of the source's own was replaced before.
    loss: (start, end) in bytes of the text's UTF-8, ascending: what a model is to learn to say.
        Empty: all of it.
    refused: images that were left out.
    cut: the end of the record that was left out: its ``part`` follows ``#`` in the ledger.
    """

    uri: str
    offset: int
    text: str
    digest: bytes
    media_type: str
    license: str = "unknown"
    rights: tuple[str, ...] = ()
    captured_at: int | None = None
    encoding: str | None = None
    metadata: dict[str, Any] | None = None
    parent: tuple[str, int] | None = None
    images: tuple[Picture, ...] = ()
    loss: tuple[tuple[int, int], ...] = ()
    refused: tuple[RefusedPicture, ...] = ()
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One record, or the rest of a file, that was seen and gave no text."""

    uri: str
    offset: int
    reason: str
    detail: str = ""

    @property
    def bad(self) -> bool:
        """Whether the row counts against ``max_bad_fraction``."""
        return self.reason not in OUT_OF_SCOPE


Outcome = Record | Unreadable
Outcomes = Iterator[Outcome]


def item_bytes(item: Item) -> int:
    """Stored bytes an item covers."""
    return max(item.size if item.share < 0 else item.share, 0)


def field_names(cls: type[Fields] | type[Limits] | type[Sample]) -> Sequence[str]:
    """Names a recipe may use in the respective mapping."""
    return [f.name for f in fields(cls)]
