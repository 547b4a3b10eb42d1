"""What a study's YAML file may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mixtures.amounts import Tokens

LEAST_SEEDS = 4
"""Of an arm: the unit of inference is the run, and fewer say next to nothing of its spread."""

NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"

Role = Literal["null", "obvious", "dose"]
Kind = Literal["compare", "repetition"]
Precision = Literal["fp32", "bf16"]

_Name = Annotated[str, Field(pattern=NAME)]
_Seed = Annotated[int, Field(ge=0, lt=1 << 31)]
_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _seeds(value: Any) -> Any:
    """A number of seeds is short for 0, 1, 2, …"""
    if isinstance(value, int) and not isinstance(value, bool):
        return list(range(value))
    return value


_Seeds = Annotated[tuple[_Seed, ...], BeforeValidator(_seeds), Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusOf(_Part):
    """A corpus: a ``run``'s folder, or a ``recipe``, built to ``runs/NAME`` when it is not there.

    ``tokenizer``, a folder or file: the corpus is copied into the study's folder and written again
    in its tokens.
    """

    recipe: str | None = None
    run: str | None = None
    tokenizer: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.recipe is None) == (self.run is None):
            found = "neither recipe nor run" if self.recipe is None else "both recipe and run"
            raise ValueError(f"found {found}, expected one of them")
        return self


class ChangesOf(_Part):
    """Values of a model's and a stage's recipe that are an arm's own, such as ``{stage: {optimizer:
    {weight_decay: 0}}}``."""

    model: dict[str, Any] = {}
    stage: dict[str, Any] = {}


class ArmOf(_Part):
    """An arm: a mixture, and what else of it is not the study's.

    ``mixture`` is a mixture's content, or the path of its file; ``changes`` are of its model and
    its stage. ``role``, ``dose`` and ``expect``
    say how the arm is judged (`mixtures.studies.analysis`).
    """

    mixture: dict[str, Any] | str | None = None
    role: Role | None = None
    dose: float | None = Field(default=None, allow_inf_nan=False)
    expect: Literal["better", "worse"] | None = None
    seeds: _Seeds | None = None
    corpus: CorpusOf | None = None
    model: str | None = None
    stage: str | None = None
    tokens: Tokens | None = None
    batch: Tokens | None = None
    rate: _Rate | None = None
    scale: str | None = None
    precision: Precision | None = None
    changes: ChangesOf = ChangesOf()


class RepetitionOf(_Part):
    """Each tier, a component's fields, is read at each number of epochs under one budget."""

    epochs: tuple[Annotated[int, Field(ge=1, lt=1 << 15)], ...] = Field(
        default=(1, 2, 4, 8), min_length=2
    )
    tiers: dict[_Name, dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError(f"found epochs {list(self.epochs)}, expected rising numbers")
        own = {"weight", "times", "epochs", "part", "floor", "length", "repeat"}
        for name, fields in self.tiers.items():
            if taken := sorted(own & set(fields)):
                raise ValueError(
                    f"found {', '.join(taken)} of tier {name}, expected none of them in a tier"
                )
        return self


class HeldOutOf(_Part):
    """Held-out text: at most ``tokens`` of it, and ``longest`` of a document.

    ``bits_per_byte`` of "all" is over ``sources``, or all but ``except_sources``.
    """

    tokens: Tokens = 64 << 10
    longest: Tokens = 8 << 10
    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    except_sources: tuple[str, ...] = ()

    def counts(self, source: str) -> bool:
        """Whether a source is a part of "all"."""
        if self.sources is not None:
            return source in self.sources
        return source not in self.except_sources


class BenchmarkOf(_Part):
    """A benchmark's local file, in a ``format`` that ``python -m mixtures items`` reads."""

    format: str
    path: str
    name: _Name | None = None
    limit: int | None = Field(default=None, ge=1)


class ItemsOf(_Part):
    """Multiple-choice items: ``generated`` from held-out text of ``sources``, and benchmarks."""

    generated: int = Field(default=0, ge=0)
    seed: _Seed = 0
    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    benchmarks: tuple[BenchmarkOf, ...] = ()


class MetricsOf(_Part):
    """What each run is measured by; ``primary`` decides."""

    held_out: HeldOutOf = HeldOutOf()
    items: ItemsOf = ItemsOf()
    primary: str = "bits_per_byte"
    loss_per_token: bool = False


class WatchOf(_Part):
    """When a run that trains is ended: its loss is no number, or after the first ``after`` of its
    tokens stays ``margin`` nats above its first for ``steps`` steps; or nothing is written for
    ``silence`` seconds, and then it is tried again."""

    margin: float = Field(default=0.5, gt=0)
    steps: int = Field(default=20, ge=1)
    after: float = Field(default=0.1, ge=0, le=1)
    silence: float = Field(default=900.0, gt=0)


class StudyRecipe(_Part):
    """A study; `docs/ablations.md` explains the fields.

    ``documents``: ``shared`` by all seeds of an arm, or ``by_seed``, each an equal slice of the
    arm's own (`mixtures.studies.slicing`).
    """

    name: _Name
    question: str = Field(min_length=1)
    kind: Kind = "compare"
    corpus: CorpusOf
    model: str
    stage: str
    tokens: Tokens
    batch: Tokens | None = None
    rate: _Rate | None = None
    scale: str | None = None
    seeds: _Seeds
    few_seeds: bool = False
    documents: Literal["shared", "by_seed"] = "shared"
    baseline: str | None = None
    arms: dict[_Name, ArmOf] = {}
    repetition: RepetitionOf | None = None
    metrics: MetricsOf = MetricsOf()
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    power: float = Field(default=0.8, gt=0, lt=1)
    precision: Precision | None = None
    save_every: int = Field(default=500, ge=1)
    keep_checkpoints: bool = True
    watch: WatchOf = WatchOf()
    workers: int | None = Field(default=None, ge=1)
