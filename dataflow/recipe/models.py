"""What a recipe may say. Each field's description is its reference; ``docs/recipes.md`` shows it.

Strict: no key that is not here, no text where a number belongs. Checks that need more than one
field's value (rule groups, presets, columns, paths) are in ``checks`` and ``load``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from dataflow.recipe.sizes import Size
from dataflow.recipe.source_models import (
    CleanStep,
    CleanSteps,
    Model,
    Name,
    Number,
    RuleName,
    Scalar,
    Seed,
    Source,
    Text,
    Texts,
)
from dataflow.sources import Fit, SourceSpec
from quality.rules import Rule


def _tests(value: Any) -> Any:
    """``when: {lang.label: en}`` and ``{lang.label: [en, de]}`` are short for ``in``."""
    if isinstance(value, list):
        return {"in": value}
    return value if isinstance(value, dict) else {"in": [value]}


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


def _ways(value: Any) -> Any:
    """A single sum of signals stands for a list of it."""
    return [value] if isinstance(value, dict) else value


class Guard(Model):
    """What is said when rules on `reward.*` take most of a category out of the corpus. Shares are
    of bytes of text, of the documents that no other rule drops."""

    loss: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.9, description="The share of a category above which its loss is told."
    )
    share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.001, description="The share of the corpus from which a category counts."
    )
    action: Literal["warn", "stop"] = Field(
        default="warn", description="`stop` ends the build before anything is packed."
    )


class Reward(Model):
    """What texts are worth, as signals `reward.*`: exactly one of ``student`` and ``scores``. They
    drop nothing by themselves."""

    student: Text | None = Field(
        default=None,
        description="What scores every document: `default`, the student that is shipped, or the "
        "file of one (`python -m quality distill`).",
    )
    scores: Text | None = Field(
        default=None,
        description="A file of scores, by content (`python -m quality score --out`). Documents "
        "that it does not have stay without.",
    )
    guard: Guard = Field(default=Guard(), description="Tells of categories that rules take away.")


class Tiers(Model):
    """Quality tiers: a column of the index, by which mixtures choose. They drop nothing. Documents
    of a source and a language are ordered by score and cut where shares of their tokens lie below;
    train documents say where."""

    by: Annotated[
        list[dict[Text, Annotated[int, Field(ge=1, le=100)]]],
        Field(min_length=1, max_length=8),
        BeforeValidator(_ways),
    ] = Field(
        default=[{"reward.depth": 1, "reward.helpfulness": 1}],
        description="The score: signals of points with whole weights. Of a list the first of which "
        "all signals are known; scores of two are never compared.",
    )
    quantiles: Annotated[
        dict[Name, Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=100)
    ] = Field(
        default={"low": 0.3, "medium": 0.75, "high": 1.0},
        description="The tiers, and up to which share of tokens each goes; the highest to 1.",
    )
    min_documents: Annotated[int, Field(ge=1)] = Field(
        default=100,
        description="What a group has, at least, to be cut by itself; else its source decides, "
        "else its language, else the corpus.",
    )
    min_tokens: Annotated[int, Field(ge=1)] = Field(
        default=100_000, description="The same, in tokens."
    )


class ImageReward(Model):
    """Signals of what captions are worth, and of whether they agree with their images. They drop
    nothing by themselves."""

    scores: Text | None = Field(
        default=None,
        description="What a model says of images and captions: a file of "
        "`python -m trainer image-reward`. Without it agreement is unknown.",
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
    reward: Reward | None = Field(
        default=None, description="What texts are worth: the signals `reward.*`."
    )
    image_reward: ImageReward | None = Field(
        default=None,
        description="What captions are worth: the signals `image_reward.*` and those of captions "
        "in their run. `{}` measures them without a model.",
    )
    tiers: Tiers | None = Field(
        default=None,
        description="Quality tiers of kept documents; without it all are `unscored`. `{}`: by "
        "depth and helpfulness.",
    )
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
        found = self._source(source)
        spec = found.spec(self._folder)
        if found.fit is None:
            return spec
        assert self.tokenizer.use is not None, "the recipe's check wants one where there is a fit"
        counter = self.resolve(self.tokenizer.use)
        return replace(spec, fit=Fit(found.fit.tokens, found.fit.tiling, counter))

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
