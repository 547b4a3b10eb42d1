"""What one run is asked to do, and what makes two runs the same one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mixtures.recipe import MixtureRecipe
from trainer.data.corpus import Verify
from trainer.logs.boards import has_wandb
from trainer.megatron.checkpoints import Keep
from trainer.megatron.start import Layout
from trainer.models.recipe import ModelRecipe
from trainer.stages.recipe import StageRecipe

Precision = Literal["fp32", "bf16"]
CHECKPOINTS, PLANS, TOKENIZER, PROFILE = "checkpoints", "plans", "tokenizer", "profile"


class RunRefused(Exception):
    """A run that cannot be started as it was asked for; says what to do."""


@dataclass(frozen=True)
class Request:
    """A stage of a model on a corpus, into a folder.

    Attributes:
        model, stage: recipes, the stage scaled.
        corpus: a run of ``dataflow``: a folder or a URI.
        out: ``metrics.jsonl``, ``checkpoints/`` and the rest go here. The stage that this one
            starts from is the folder of its name beside ``out``, unless ``start_from`` says else.
        layout: how the model is spread over ranks.
        steps: stop after this many steps of the stage; the schedule's horizon stays the stage's.
        resume: go on from the last checkpoint in ``out``.
        seed: of the first weights and of the order of documents.
        precision: of weights and activations.
        micro_batch: tokens that go through the model at once, at most, in whole sequences; one
            sequence at least.
        recompute: keep only the inputs of layers, and compute them again in the backward pass.
        save_every: steps between checkpoints.
        keep: which of them stay.
        epochs: how often a document may be read at most.
        mixture: what the documents are drawn by; its components have caps of their own. None:
            the corpus as it is, or what the stage draws.
        on_bad_shard: what to do about a shard that is damaged or gone.
        verify: what a shard must show before it is read (``trainer.data.corpus.Corpus.open``).
        deterministic: operators that give the same bits in every run, at some cost.
        profile: steps to look at with torch's profiler; tables and traces go to
            ``out/profile``.
        json: each step as JSON on standard output.
        make_before: the command-line options that make the stage before, without ``--out``; for the
            error that misses it.
        wandb: a project of Weights & Biases, None for none.
    """

    model: ModelRecipe
    stage: StageRecipe
    corpus: str
    out: Path
    layout: Layout = field(default_factory=Layout)
    steps: int | None = None
    resume: bool = False
    start_from: Path | None = None
    seed: int = 0
    precision: Precision = "fp32"
    micro_batch: int = 1
    recompute: bool = False
    save_every: int = 1000
    keep: Keep = field(default_factory=Keep)
    epochs: int = 4
    mixture: MixtureRecipe | None = None
    on_bad_shard: Literal["stop", "skip"] = "stop"
    verify: Verify = "hash"
    deterministic: bool = False
    profile: tuple[int, ...] = ()
    json: bool = False
    wandb: str | None = None
    make_before: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Only the first rank writes there: all must know before any waits for another.
        if self.wandb is not None and not has_wandb():
            raise RunRefused(
                "--wandb: found no package wandb, expected it where its log is asked for; install "
                "it (pip install wandb) or leave the option out"
            )
        if self.mixture is not None and self.stage.draws is not None:
            raise RunRefused(
                f"--mixture: stage {self.stage.name} draws from sources of its own "
                f"({', '.join(self.stage.draws)}), expected a stage without draws; leave the "
                "option out, or put the mixture into the stage's draws"
            )

    @property
    def checkpoints(self) -> Path:
        """Where this run's checkpoints lie."""
        return self.out / CHECKPOINTS

    @property
    def predecessor(self) -> Path | None:
        """The run that the stage starts from, None for a first stage."""
        if self.start_from is not None:
            return self.start_from
        return None if self.stage.after is None else self.out.parent / self.stage.after


def identity(request: Request, *, corpus: str, tokenizer: str) -> dict[str, Any]:
    """What must be equal for a run to go on: not the layout, the micro-batch or the machine.

    The plan's hash joins it as ``plan`` when it is compiled.
    """
    return {
        "model": request.model.model_dump(mode="json", exclude={"stages"}),
        "stage": request.stage.model_dump(
            mode="json", exclude={"guard", "layer_guard", "roll_back"}
        ),
        "corpus": corpus,
        "tokenizer": tokenizer,
        "seed": request.seed,
        "precision": request.precision,
        "mixture": None if request.mixture is None else request.mixture.model_dump(mode="json"),
    }


def differences(found: Any, expected: Any, where: str = "") -> list[str]:
    """Lines that say where two trees of JSON values differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return [
            line
            for key in sorted({*found, *expected})
            for line in differences(found.get(key), expected.get(key), f"{where}.{key}".lstrip("."))
        ]
    return [] if found == expected else [f"{where}: found {found!r}, expected {expected!r}"]
