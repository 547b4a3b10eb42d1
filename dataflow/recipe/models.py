"""What a recipe may say. Each field's description is its reference; ``docs/recipes.md`` shows it.

Strict: no key that is not here, no text where a number belongs. Checks that need more than one
field's value (rule groups, presets, columns, paths) are in ``checks`` and ``load``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr
from pydantic.types import StringConstraints
from pydantic_core import PydanticCustomError

from dataflow.recipe.sizes import Size
from dataflow.sources import Fields, Limits, Sample, SourceSpec
from quality.rules import Rule


class Model(BaseModel):
    """Strict and immutable: no unknown keys, no conversions between types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _scalar(value: Any) -> Any:
    if not isinstance(value, (str, int, float, bool)):
        raise PydanticCustomError("scalar", "text, a number, or true or false")
    return value


def _tests(value: Any) -> Any:
    """``when: {lang.label: en}`` and ``{lang.label: [en, de]}`` are short for ``in``."""
    if isinstance(value, list):
        return {"in": value}
    return value if isinstance(value, dict) else {"in": [value]}


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


class SampleModel(Model):
    """Take files in the order of a hash of their content until enough bytes are taken."""

    bytes: Size = Field(description="How much to take, in bytes as stored.")
    seed: Seed = Field(
        default=0, description="Another seed takes other files. Default: the recipe's seed."
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
    max_pdf_pages: Annotated[int, Field(gt=0)] = Field(
        default=Limits.max_pdf_pages, description="Pages of one PDF."
    )


class Extract(Model):
    """How text is taken out of formats that are more than text."""

    html: Literal["resiliparse", "trafilatura"] = Field(
        default="resiliparse",
        description="Main content of HTML by `resiliparse` (fast) or `trafilatura` (stricter).",
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


class Tests(Model):
    """A test of one column. Bounds are inclusive."""

    min: Number | None = Field(default=None, description="The least value that passes.")
    max: Number | None = Field(default=None, description="The greatest value that passes.")
    in_: list[Scalar] | None = Field(default=None, alias="in", description="Values that pass.")
    not_in: list[Scalar] | None = Field(default=None, description="Values that do not pass.")


class RuleEntry(Tests):
    """A rule, or with ``use`` a preset of rules. A document that fails a rule is dropped."""

    name: RuleName | None = Field(
        default=None,
        description="What ledger and report call the rule; default: its signal. "
        "With `use`: a prefix, `NAME/` before the name of each rule.",
    )
    signal: Text | None = Field(
        default=None, description="The column to test (`python -m quality signals`)."
    )
    when: dict[str, Annotated[Tests, BeforeValidator(_tests)]] = Field(
        default={},
        description="Columns with tests that must all hold for the rule to apply; "
        "`{lang.label: en}` and `{lang.label: [en, de]}` are short for `in`.",
    )
    use: Text | None = Field(default=None, description="A preset (`python -m quality dialects`).")
    without: Texts = Field(default=[], description="With `use`: rules of the preset to leave out.")
    override: dict[str, Tests] = Field(
        default={},
        description="With `use`: other bounds for some of its rules; `null` removes a bound.",
    )


class Source(Model):
    """One place documents come from."""

    name: Name = Field(description="Its name, unique in the recipe; part of every document's id.")
    kind: Literal["files", "distributions", "stdlib"] = Field(
        default="files",
        description="`files`: `paths`. `distributions`: installed Python packages, read by "
        "their RECORD files. `stdlib`: the library of the Python that runs the build.",
    )
    paths: Texts = Field(
        default=[],
        description="Files, folders, globs, or URIs (`s3://`, `gs://`, `hf://`, `https://`). "
        "Relative ones start at the recipe's folder.",
    )
    distributions: Texts = Field(default=[], description="Names of installed distributions.")
    optional: bool = Field(
        default=False,
        description="Local `paths` that match nothing are left out, which is else an error.",
    )
    format: Text = Field(
        default="auto", description="How to read the files; `auto`: by suffix, then content."
    )
    include: Texts = Field(
        default=[], description="Globs over uris; only these are read. `**` crosses folders."
    )
    exclude: Texts = Field(default=[], description="Globs over uris; these are not read.")
    fields: FieldMap = Field(
        default=FieldMap(), description="Columns of JSONL, Parquet and Arrow rows."
    )
    sample: SampleModel | None = Field(default=None, description="Read a part of the files only.")
    license: Text = Field(
        default="unknown", description="SPDX id for records that carry none of their own."
    )
    extract: Extract = Field(default=Extract(), description="How text is taken out of HTML.")
    limits: LimitsModel = Field(default=LimitsModel(), description="Work budgets of one record.")
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
        """The source as ``dataflow.sources`` takes it; relative paths start at ``folder``."""
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
            storage=dict(self.storage),
            base=str(folder),
        )


class Language(Model):
    """Language identification of every document."""

    enabled: bool = Field(
        default=True,
        description="Without it `lang.label` and `lang.score` are null, and no rule may name them.",
    )


class Near(Model):
    """Near duplicates: MinHash-LSH proposes pairs, exact Jaccard similarity confirms them."""

    enabled: bool = Field(default=True, description="Whether near duplicates are looked for.")
    ngram: Annotated[int, Field(ge=1, le=64)] = Field(default=5, description="Words in a shingle.")
    bands: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=14, description="Bands of a signature."
    )
    rows: Annotated[int, Field(ge=1, le=64)] = Field(
        default=8, description="Permutations in a band."
    )
    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.8,
        description="The Jaccard similarity of shingle sets from which a pair is a duplicate.",
    )
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(
        default=1, description="Seed of the permutations."
    )


class Dedup(Model):
    """What counts as a duplicate, and which of several survives."""

    exact: bool = Field(default=True, description="Drop documents whose extracted text is equal.")
    near: Near = Field(default=Near(), description="Near duplicates.")
    survivor: Texts = Field(
        default=["captured_at desc", "text.words desc"],
        description="Expressions over columns with `asc` or `desc`: the first in this order "
        "survives. Nulls come last; ties fall to `priority`, then to the document's hash.",
    )


class Split(Model):
    """Which documents are held out: near-duplicate clusters stay on one side."""

    held_out: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.01, description="The expected part of clusters that no training sees."
    )
    seed: Seed = Field(default=0, description="Default: the recipe's seed.")
    previous: Text | None = Field(
        default=None, description="An earlier run: what it held out stays held out."
    )


class Train(Model):
    """Train a byte-level BPE tokenizer from kept documents of the train split."""

    vocab_size: Annotated[int, Field(ge=512, le=1 << 24)] = Field(
        default=32_768, description="Entries, specials included."
    )
    sample_bytes: Size = Field(
        default=256 << 20,
        description="How much text to train on, taken by hash; all, if there is less.",
    )
    seed: Seed = Field(default=0, description="Default: the recipe's seed.")


class Tokenizer(Model):
    """Exactly one of ``use`` and ``train``."""

    use: Text | None = Field(
        default=None, description="A tokenizer's folder, `tokenizer.json` or tiktoken file."
    )
    train: Train | None = Field(default=None, description="Train one as a part of the build.")


class Pack(Model):
    """The shards."""

    shard_bytes: Size = Field(default=64 << 20, description="Text bytes of a shard, on average.")
    sample_bytes: Size = Field(
        default=256 << 10,
        description="Text bytes from which a shard's sample takes no further document.",
    )
    seed: Seed = Field(
        default=0, description="Seed of the global shuffle. Default: the recipe's seed."
    )


class Build(Model):
    """How the work is cut. It shapes no logical output: ids, text, decisions and shards."""

    partition_bytes: Size = Field(default=32 << 20, description="Stored bytes that one task reads.")


class Lock(Model):
    """Written by the build into ``recipe.lock.yaml``; a recipe has none."""

    format: Literal[1] = Field(default=1, description="Version of the lock file.")
    packages: dict[str, str] = Field(default={}, description="Versions of what shapes output.")


class Recipe(Model):
    """A recipe as the build takes it: every default filled in, presets expanded into rules."""

    name: Name = Field(description="The corpus' name.")
    description: str = Field(default="", description="What it is, for readers.")
    seed: Seed = Field(
        default=0, description="The seed of all random choices that have none of their own."
    )
    sources: Annotated[list[Source], Field(min_length=1)] = Field(
        description="Where documents come from."
    )
    rules: dict[Name, list[RuleEntry]] = Field(
        default={}, description="Named groups of rules; a document goes through them in order."
    )
    clean: CleanSteps = Field(
        default=[], description="Text edits of every source that has no own `clean`."
    )
    language: Language = Field(default=Language(), description="Language identification.")
    dedup: Dedup = Field(default=Dedup(), description="Duplicates.")
    split: Split = Field(default=Split(), description="Held-out documents.")
    tokenizer: Tokenizer = Field(description="Where token ids come from.")
    pack: Pack = Field(default=Pack(), description="Shards.")
    build: Build = Field(
        default=Build(), description="How the work is cut; it shapes no logical output."
    )
    lock: Lock | None = Field(default=None, description="Only in lock files.")

    _folder: Path = PrivateAttr(default=Path())

    def __eq__(self, other: object) -> bool:
        """Equal when they say the same; where they lie does not count."""
        return isinstance(other, Recipe) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    @property
    def folder(self) -> Path:
        """Where relative paths start: the recipe's folder."""
        return self._folder

    def resolve(self, path: str) -> str:
        """``path`` from the recipe's folder; URIs and absolute paths as they are."""
        return path if "://" in path else str(self._folder / path)

    def spec(self, source: str) -> SourceSpec:
        """The spec of the source of that name."""
        return self._source(source).spec(self._folder)

    def rules_of(self, source: str) -> tuple[Rule, ...]:
        """The rules that the source's documents go through, in order."""
        group = self._source(source).rules
        entries = self.rules[group] if group is not None else []
        return tuple(
            Rule.from_json(e.model_dump(by_alias=True, exclude_none=True)) for e in entries
        )

    def clean_of(self, source: str) -> tuple[CleanStep, ...]:
        """The text edits of the source's documents, in order."""
        return tuple(self._source(source).clean or ())

    def _source(self, name: str) -> Source:
        return next(source for source in self.sources if source.name == name)
