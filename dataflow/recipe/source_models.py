"""What a recipe may say about a source, and the types that all parts of a recipe share.

Each field's description is its reference; ``docs/recipes.md`` shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.types import StringConstraints
from pydantic_core import PydanticCustomError

from dataflow.recipe.sizes import Size
from dataflow.sources import Captions, Damage, Fields, Limits, Sample, SourceSpec, Synthesis
from dataflow.sources.labels import digest_of
from dataflow.sources.synthesised.forms import FORMS
from vl_data.limits import Limits as ImageLimits
from vl_data.tiling import TILINGS


class Model(BaseModel):
    """Strict and immutable: no unknown keys, no conversions between types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _scalar(value: Any) -> Any:
    if not isinstance(value, (str, int, float, bool)):
        raise PydanticCustomError("scalar", "text, a number, or true or false")
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
"""Lower-case letters, digits, ``_ . -``: it becomes part of file names."""
RuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,99}$")]
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]*$")]
Texts = Annotated[list[Text], BeforeValidator(_listed)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
Scalar = Annotated[Any, BeforeValidator(_scalar)]


class FieldMap(Model):
    """Which columns of JSONL, Parquet and Arrow rows mean what; dots reach into nested objects."""

    text: Text = Field(default="text", description="The text; every row must have it.")
    id: Text | None = Field(default=None, description="The row's own id, kept in the metadata.")
    url: Text | None = Field(default=None, description="The row's address, kept in the metadata.")
    license: Text | None = Field(default=None, description="SPDX id, where rows carry one.")
    captured_at: Text | None = Field(
        default=None, description="ISO 8601 text, a timestamp, or seconds since the epoch."
    )
    metadata: list[Text] = Field(default=[], description="Further columns to keep in the metadata.")
    image: Text | None = Field(
        default=None,
        description="`image-text` and `llava`: bytes, a struct of bytes and path, or a path "
        "relative to the file. Default: `image`, `jpg`, `png`, `webp` or the like.",
    )
    caption: Text | None = Field(
        default=None,
        description="`image-text`: the caption. Default: `caption`, else the text.",
    )
    refined: Text | None = Field(
        default=None,
        description="`image-text`: a caption written anew. Where a row has both, even odds decide "
        "which is the document's text. Default: `refined`.",
    )
    alt: Text | None = Field(
        default=None, description="`image-text`: the alternative text. Default: `alt`."
    )


class SampleModel(Model):
    """Take files in the order of a hash of their content until enough bytes are taken."""

    bytes: Size = Field(description="How much to take, in bytes as stored.")
    seed: Seed = Field(
        default=0, description="Another seed takes other files. Default: the recipe's seed."
    )


class SynthesisModel(Model):
    """Pictures with questions whose answers are exactly known (`python -m vl_data synthesise`)."""

    form: Text = Field(
        description="What a document is: "
        + ", ".join(f"`{name}`" for name in FORMS)
        + " (as `image-text`, `llava` and so on read them)."
    )
    count: Annotated[int, Field(gt=0, lt=1 << 31)] = Field(description="How many documents.")
    size: Annotated[int, Field(gt=0)] = Field(
        default=336, description="Pixels of a picture's longer side, 56 to 1344."
    )
    families: Texts = Field(
        default=[],
        description="What they show, in turn (`python -m vl_data synthesise --help`). Default: all "
        "that can be read at the size.",
    )
    aspects: Literal["square", "mixed"] = Field(
        default="square", description="Of the pictures; `mixed`: seven from 1:2 to 2:1."
    )
    split: Literal["train", "heldout"] = Field(
        default="train",
        description="Which layouts: the two have none in common. It is not the corpus' split.",
    )
    text: str = Field(
        default="",
        description="A file of JSON lines with `id` and `text`, whose words pictures of text show. "
        "Default: common nouns.",
    )


class LimitsModel(Model):
    """Work budgets of one record, counted and not timed. What is over one is unreadable."""

    max_record_bytes: Size = Field(
        default=Limits.max_record_bytes, description="One record after decompression."
    )
    max_expansion: Annotated[int, Field(gt=0)] = Field(
        default=Limits.max_expansion,
        description="Decompressed bytes per compressed byte of a file.",
    )
    max_html_bytes: Size = Field(default=Limits.max_html_bytes, description="One HTML page.")
    max_html_tags: Annotated[int, Field(gt=0)] = Field(
        default=Limits.max_html_tags, description="Tags of one HTML page."
    )
    max_html_depth: Annotated[int, Field(gt=0)] = Field(
        default=Limits.max_html_depth,
        description="Elements of one HTML page that are open at once.",
    )
    max_html_images: Annotated[int, Field(gt=0)] = Field(
        default=Limits.max_html_images,
        description="Images of one HTML page that is read with its images.",
    )
    max_pdf_pages: Annotated[int, Field(gt=0)] = Field(
        default=Limits.max_pdf_pages, description="Pages of one PDF."
    )


_IMAGES = ImageLimits()


class ImagesModel(Model):
    """What an image may be; one that is not is left out with a row that says why."""

    min_side: Annotated[int, Field(gt=0)] = Field(
        default=_IMAGES.min_side, description="Pixels of the shorter side."
    )
    max_side: Annotated[int, Field(gt=0)] = Field(
        default=_IMAGES.max_side, description="Pixels of the longer side."
    )
    max_aspect: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        default=_IMAGES.max_aspect, description="Longer side by shorter side."
    )
    max_bytes: Size = Field(default=_IMAGES.max_bytes, description="The file.")
    max_pixels: Annotated[int, Field(gt=0)] = Field(
        default=_IMAGES.max_pixels, description="Pixels of one frame."
    )
    max_frames: Annotated[int, Field(gt=0)] = Field(
        default=_IMAGES.max_frames,
        description="Frames of an animation or pages, of which only the first is used.",
    )
    max_scans: Annotated[int, Field(gt=0)] = Field(
        default=_IMAGES.max_scans, description="Passes of a progressive JPEG."
    )


class CaptionsModel(Model):
    """What a model said of the source's images, with the source's captions before it."""

    refined: Text = Field(
        description="The table that `python -m vl_data caption` wrote, relative to the recipe's "
        "folder. Rows are found by the bytes of an image and its caption. With another table the "
        "source is read again."
    )
    probability: Fraction = Field(
        default=0.5,
        description="Of the table's words where a pair has a caption of its own too; a hash of the "
        "image and `seed` decides.",
    )
    use: Literal["caption", "description"] = Field(
        default="caption", description="Which of the table's words."
    )

    def taken(self, folder: Path) -> Captions:
        """As ``dataflow.sources`` takes it."""
        path = str(folder / self.refined)
        return Captions(path, digest_of(path), self.probability, self.use)


class FitModel(Model):
    """Conversations of more tokens end with the last answer that fits; a row of the ledger says
    so. Where not even the first one fits, all of it is unreadable (`over-length`)."""

    tokens: Annotated[int, Field(gt=0, lt=1 << 31)] = Field(
        description="Ids, with features in the place of images, and the end of the document: as "
        "many as a sequence of the stage that is to read them. Counted by `tokenizer.use`."
    )
    tiling: Text = Field(
        default="released28",
        description="How many features an image has: " + ", ".join(f"`{name}`" for name in TILINGS),
    )


class DamageModel(Model):
    """Damage on purpose, for the arms of studies (`docs/ablations.md`) and nothing else. It is done
    as soon as a document is read: hashes, signals, duplicates and tokens are those of the damaged
    text. The document's metadata says `damage`."""

    shuffle_words: Annotated[float, Field(gt=0, le=1)] = Field(
        description="The share of the source's documents whose words are put in random order, each "
        "whitespace in its place. A hash of a document's text decides, so that the documents of a "
        "smaller share are among those of a larger one; the others stay as they are."
    )


class Extract(Model):
    """How text is taken out of formats that are more than text."""

    html: Literal["resiliparse", "trafilatura", "interleaved"] = Field(
        default="resiliparse",
        description="Main content of HTML by `resiliparse` (fast) or `trafilatura` (stricter); "
        "`interleaved`: by `resiliparse`, with the images that lie beside the page, in the same "
        "archive or in the page itself.",
    )
    pdf_dpi: Annotated[int, Field(ge=18, le=1200)] = Field(
        default=144, description="`pdf-pages`: pixels an inch of a page's image."
    )


class CleanStep(Model):
    """A text edit that packing applies to kept documents; the ledger records its spans."""

    use: Literal["control", "c4.lines"] = Field(
        description="`control`: control characters other than tab and newlines. "
        "`c4.lines`: lines that C4's line rules remove.",
    )
    terminal_punctuation: bool = Field(
        default=False, description="`c4.lines`: also lines that do not end in . ? ! \" or '."
    )
    min_words: Annotated[int, Field(ge=0)] = Field(
        default=3, description="`c4.lines`: lines of fewer words go."
    )


def _clean_step(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


CleanSteps = list[Annotated[CleanStep, BeforeValidator(_clean_step)]]


class Source(Model):
    """One place documents come from."""

    name: Name = Field(description="Its name, unique in the recipe; part of every document's id.")
    kind: Literal["files", "distributions", "stdlib", "synthesised"] = Field(
        default="files",
        description="`files`: `paths`. `distributions`: installed Python packages, read by "
        "their RECORD files. `stdlib`: the library of the Python that runs the build. "
        "`synthesised`: pictures with questions, made by the build.",
    )
    paths: Texts = Field(
        default=[],
        description="Files, folders, globs, or URIs (`s3://`, `gs://`, `hf://`, `https://`). "
        "Relative ones start at the recipe's folder.",
    )
    distributions: Texts = Field(default=[], description="Names of installed distributions.")
    synthesis: SynthesisModel | None = Field(
        default=None, description="What kind `synthesised` makes."
    )
    optional: bool = Field(
        default=False,
        description="Local `paths` that match nothing are left out, which is else an error.",
    )
    format: Text = Field(
        default="auto",
        description="How to read the files; `auto`: by suffix, then content. `image-text`, "
        "`llava`, `pdf-pages` and `preferences` are never chosen by themselves.",
    )
    include: Texts = Field(
        default=[], description="Globs over uris; only these are read. `**` crosses folders."
    )
    exclude: Texts = Field(default=[], description="Globs over uris; these are not read.")
    fields: FieldMap = Field(
        default=FieldMap(), description="Columns of JSONL, Parquet, Arrow and CSV rows."
    )
    sample: SampleModel | None = Field(default=None, description="Read a part of the files only.")
    license: Text = Field(
        default="unknown", description="SPDX id for records that carry none of their own."
    )
    extract: Extract = Field(default=Extract(), description="How HTML and PDF are read.")
    limits: LimitsModel = Field(default=LimitsModel(), description="Work budgets of one record.")
    images: ImagesModel = Field(
        default=ImagesModel(), description="What an image of a record may be."
    )
    captions: CaptionsModel | None = Field(
        default=None, description="`image-text`: captions of a model beside the source's own."
    )
    fit: FitModel | None = Field(
        default=None, description="`llava`: how long a conversation may be. Default: any length."
    )
    damage: DamageModel | None = Field(
        default=None, description="What is done to documents on purpose; for studies."
    )
    seed: Seed = Field(
        default=0,
        description="Of the choice between raw and refined captions, and of what is synthesised: "
        "two sources of one seed show the same pictures. Default: the recipe's seed.",
    )
    storage: dict[str, str | bool] = Field(
        default={},
        description="Options of remote storage: `endpoint_url`, `region`, `anonymous`. "
        "Credentials come from the environment.",
    )
    priority: int = Field(
        default=0,
        description="Of duplicates that are equal otherwise, the highest priority survives.",
    )
    max_bad_fraction: Fraction = Field(
        default=0.05,
        description="The build stops when more than this part of the records is unreadable.",
    )
    rules: Text | None = Field(
        default=None,
        description="The rule group that its documents go through; none: all are kept.",
    )
    clean: CleanSteps | None = Field(
        default=None, description="Text edits; default: the recipe's `clean`."
    )

    def spec(self, folder: Path) -> SourceSpec:
        """The source as ``dataflow.sources`` takes it; relative paths start at ``folder``.

        Without ``fit``, which takes the recipe's tokenizer (``Recipe.spec``).
        """
        return SourceSpec(
            name=self.name,
            kind=self.kind,
            paths=tuple(self.paths),
            distributions=tuple(self.distributions),
            format=self.format,
            include=tuple(self.include),
            exclude=tuple(self.exclude),
            fields=Fields(
                **{**self.fields.model_dump(), "metadata": tuple(self.fields.metadata)},
            ),
            sample=None if self.sample is None else Sample(self.sample.bytes, self.sample.seed),
            license=self.license,
            html=self.extract.html,
            limits=Limits(**self.limits.model_dump()),
            images=ImageLimits(**self.images.model_dump()),
            pdf_dpi=self.extract.pdf_dpi,
            captions=None if self.captions is None else self.captions.taken(folder),
            damage=None if self.damage is None else Damage(self.damage.shuffle_words),
            seed=self.seed,
            synthesis=None if self.synthesis is None else _synthesis(self.synthesis),
            storage=dict(self.storage),
            base=str(folder),
        )


def _synthesis(asked: SynthesisModel) -> Synthesis:
    return Synthesis(**{**asked.model_dump(), "families": tuple(asked.families)})
