"""What a stage of training is: the fields of ``recipes/stages/*.yaml``."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from dataflow.tilings import TILINGS
from mixtures.amounts import Scale, Tokens, parse_tokens
from mixtures.spec import Packing
from trainer.guards import GuardSettings, RollBackSettings
from trainer.preference.recipe import Dpo
from trainer.stages.layer_guard import LayerGuardSettings
from trainer.vision.parts import PARTS, Part

LENGTH_CLASSES = ("short", "medium", "long")
"""Of documents, by their exact number of tokens; :meth:`StageRecipe.class_of` has the bounds."""

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shares(_Part):
    """What part of the tokens comes from documents of each length class; the sum is 1."""

    short: _Share
    medium: _Share
    long: _Share

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.short + self.medium + self.long
        if abs(total - 1) > 1e-9:
            raise ValueError(f"found shares that sum to {total:g}, expected 1")
        return self


class LongQA(_Part):
    """Questions over long documents, in the last part of a stage (arXiv:2501.08313, section 4.2).

    In the ``last`` part of the stage's tokens, ``share`` of them come from ``sources`` and the
    length classes share the rest. A corpus without these sources cannot train the stage as it
    stands: ``long_qa: 0`` says that it is to be left out.
    """

    share: _Share = 0.10
    last: float = Field(default=0.20, gt=0, le=1)
    sources: tuple[str, ...] = Field(default=("long-qa",), min_length=1)


def _long_qa(value: Any) -> Any:
    """A share alone is short for the mapping, so that ``long_qa: 0`` is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"share": value}
    return value


def _mark(value: Any) -> int:
    """Zero is a place to begin at, though no amount."""
    return 0 if value == 0 else parse_tokens(value)


class BatchMark(_Part):
    """From the first step at or after ``at`` tokens, a global batch has ``tokens`` tokens."""

    at: Annotated[int, BeforeValidator(_mark), Field(ge=0)] = 0
    tokens: Tokens


class Phase(_Part):
    """The learning rate up to ``until`` tokens of the stage.

    ``constant``: ``rate``. ``exponential``: from the rate of the phase before to ``rate``, by equal
    factors in equal numbers of tokens.
    """

    until: Tokens
    rate: _Rate
    shape: Literal["constant", "exponential"] = "constant"


class Schedule(_Part):
    """Learning rates over a stage: a linear warm-up to the first phase's, then the phases.

    The warm-up takes ``warmup_steps`` steps of the first batch size, though at most a tenth of the
    stage: a small budget would end in it otherwise.
    """

    warmup_steps: int = Field(default=0, ge=0)
    phases: tuple[Phase, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.phases[0].shape != "constant":
            raise ValueError(
                f"found a first phase that is {self.phases[0].shape}, expected constant: nothing "
                "stands before it to begin from"
            )
        for before, after in zip(self.phases, self.phases[1:], strict=False):
            if after.until <= before.until:
                raise ValueError(
                    f"found a phase until {after.until} tokens after one until {before.until}, "
                    "expected rising marks"
                )
        return self


class Adam(_Part):
    """AdamW's constants, and the global gradient norm above which gradients are scaled down."""

    beta1: _Share = 0.9
    beta2: _Share = 0.95
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float | None = Field(default=1.0, gt=0)


class Draw(_Part):
    """Sources of a corpus that a stage draws from, and their weight beside its other draws.

    Either the ``sources`` are named, or it is all but ``except_sources``.
    """

    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    except_sources: tuple[str, ...] = ()
    weight: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.sources is None) != bool(self.except_sources):
            found = "neither" if self.sources is None else "both"
            raise ValueError(f"found {found}, expected one of sources and except_sources")
        return self

    @model_serializer(mode="wrap")
    def _as_kept(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the one that is not given: runs from before there were two may go on."""
        found: dict[str, Any] = write(self)
        found.pop("except_sources" if self.except_sources == () else "sources", None)
        return found


class Variant(_Part):
    """What another curriculum changes about a stage; rates and batches keep their proportions."""

    after: str | None = None
    tokens: Tokens | None = None


class StageRecipe(_Part):
    """A stage of training; every amount is in tokens, and every mark counts from its beginning.

    Attributes
    ----------
    name: of the stage, and of its file.
    after: the stage whose last checkpoint this one starts from; None: from initial weights.
    length: tokens of a packed sequence, L.
    rope_base: of the softmax layers' rotary embeddings; it is no length and is never scaled.
    tokens: the budget. The stage ends with the first step that reaches it.
    batch: sizes of the global batch, each from its mark on. Never read from the running loss:
        the marks decide, so a resumed or repeated run has the same steps.
    schedule: learning rates.
    shares: of the length classes; None: documents as the corpus has them.
    class_length: L1, to which the length classes are relative.
    long_qa: questions over long documents at the end.
    interpolation: part of the stage's tokens, at its beginning, over which the shares go in a
        straight line from those of the stage before to these (``trainer.stages.mixture``).
    draws: which sources the stage draws from, by name, in the ratio of their weights; None: from
        all, as ``shares`` says.
    most_epochs: how much of what it draws a stage reads at most: the budget becomes that of a
        corpus that has less (``trainer.run.budget``). None: documents come again, up to the run's
        limit of epochs, and a corpus that has less is refused.
    objective: what is minimised; None: the loss of the next token.
    train: the parts of a model with a vision tower that are trained (``trainer.vision.parts``).
    packing: how documents become sequences (``mixtures.spec``).
    tiling: where documents have images, by which tiling their features are counted.
    optimizer: AdamW's constants.
    keep_optimizer: whether AdamW's moments come from the stage before too, where it trained the
        same parts.
    guard, layer_guard: when a step is too bad to go on from.
    roll_back: how far and how often a guard may send the run back.
    scale: what the amounts have been scaled by (``trainer.stages.scaling``).
    variants: other curricula by name.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    after: str | None = None
    length: Tokens
    rope_base: float = Field(ge=1, allow_inf_nan=False)
    tokens: Tokens
    batch: tuple[BatchMark, ...] = Field(min_length=1)
    schedule: Schedule
    shares: Shares | None = None
    class_length: Tokens = 128 << 10
    long_qa: Annotated[LongQA, BeforeValidator(_long_qa)] = LongQA(share=0)
    interpolation: _Share = 0.0
    draws: dict[str, Draw] | None = None
    most_epochs: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    objective: Dpo | None = None
    train: tuple[Part, ...] = PARTS
    packing: Packing = "stream"
    tiling: str | None = None
    optimizer: Adam = Adam()
    keep_optimizer: bool = True
    guard: GuardSettings = GuardSettings()
    layer_guard: LayerGuardSettings = LayerGuardSettings()
    roll_back: RollBackSettings = RollBackSettings()
    scale: Scale = Fraction(1)
    variants: dict[str, Variant] = {}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        last = self.schedule.phases[-1].until
        if last != self.tokens:
            raise ValueError(
                f"found a schedule until {last} tokens, expected one until the stage's budget of "
                f"{self.tokens}"
            )
        if self.batch[0].at != 0:
            raise ValueError(f"found a first batch size at {self.batch[0].at}, expected it at 0")
        for before, after in zip(self.batch, self.batch[1:], strict=False):
            if after.at <= before.at:
                raise ValueError(
                    f"found a batch size at {after.at} tokens after one at {before.at}, expected "
                    "rising marks"
                )
        if self.long_qa.share > 0 and self.interpolation > 1 - self.long_qa.last:
            raise ValueError(
                f"found interpolation over the first {self.interpolation:.0%} and long questions "
                f"over the last {self.long_qa.last:.0%}, expected that they do not overlap"
            )
        if self.tiling is not None and (self.packing != "whole" or self.tiling not in TILINGS):
            raise ValueError(
                f"found tiling {self.tiling!r} with packing {self.packing}, expected one of "
                f"{', '.join(TILINGS)} with packing whole"
            )
        if self.draws is not None and (self.shares is not None or self.long_qa.share > 0):
            raise ValueError(
                "found draws beside shares or long_qa, expected one of them: draws name sources, "
                "the others classes of length"
            )
        if self.most_epochs is not None and self.draws is None:
            raise ValueError(
                "found most_epochs without draws, expected draws: it is a part of them"
            )
        if self.objective is not None and (self.packing != "whole" or self.most_epochs is None):
            raise ValueError(
                f"found an objective of pairs with packing {self.packing} and most_epochs "
                f"{self.most_epochs}, expected packing whole, for a pair is never cut, and "
                "most_epochs, below 1 so that no pair is learnt by heart"
            )
        if self.draws is not None and not self.draws:
            raise ValueError("found no draw, expected one at least, or no draws")
        if len(set(self.train)) != len(self.train) or not self.train:
            raise ValueError(
                f"found train {list(self.train)}, expected some of {', '.join(PARTS)}, each once"
            )
        for mark in self.batch:
            if mark.tokens % self.length:
                raise ValueError(
                    f"found a batch of {mark.tokens} tokens, expected whole sequences of "
                    f"{self.length}"
                )
        return self

    @model_serializer(mode="wrap")
    def _as_kept(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is at its default: runs from before it was there may go on."""
        found: dict[str, Any] = write(self)
        if self.packing == "stream":
            found.pop("packing", None)
        if self.tiling is None:
            found.pop("tiling", None)
        for name in ("draws", "most_epochs", "objective"):
            if getattr(self, name) is None:
                found.pop(name, None)
        if set(self.train) == set(PARTS):
            found.pop("train", None)
        return found

    @property
    def short_below(self) -> int:
        """Documents of fewer tokens are short."""
        return max(1, self.class_length // 4)

    @property
    def long_above(self) -> int:
        """Documents of more tokens are long."""
        return self.class_length

    def class_of(self, tokens: int) -> str:
        """The length class of a document: short below L1/4 tokens, medium up to L1, else long.

        MiniMax-01's classes (below 32K, to 128K, above; arXiv:2501.08313, table 6), relative to
        the length of its first extension so that they scale with it.
        """
        if tokens < self.short_below:
            return "short"
        return "medium" if tokens <= self.long_above else "long"
