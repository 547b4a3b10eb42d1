"""The command line of the room: what ``python -m trainer`` understands.

Exit codes: 0 done, 1 the job failed (or a guard stopped it), 2 wrong usage or a wrong recipe.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from trainer.run.outcome import Outcome
    from trainer.run.request import Precision, Request

DONE, FAILED, WRONG_USAGE = 0, 1, 2
MAX_EPOCHS = (1 << 15) - 1
"""That a plan's component can hold (`mixtures.spec.Component`)."""


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    from mixtures.amounts import parse_scale, parse_tokens
    from trainer.run.folder import local_folder

    root = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train a model through its stages, use it, convert it.",
        epilog="Over several processes: run --processes N, over a Ray cluster --ray ADDRESS too; "
        "or torchrun --nproc-per-node=N -m trainer run …",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> Any:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print JSON for machines")
        return sub

    sub = add("run", _run, "train a stage")
    sub.add_argument("--stage", required=True, help="a name in recipes/stages, or a file")
    sub.add_argument("--model", required=True, help="a name in recipes/models, or a file")
    sub.add_argument("--corpus", required=True, metavar="RUN", help="a corpus: folder or URI")
    sub.add_argument(
        "--out", required=True, type=_as(local_folder), metavar="DIR", help="what comes of it"
    )
    sub.add_argument("--steps", type=_count, help="stop after this many steps of the stage")
    sub.add_argument("--resume", action="store_true", help="go on from DIR's last checkpoint")
    sub.add_argument(
        "--start-from", type=_as(local_folder), metavar="DIR",
        help="the run of the stage before (default: its name beside DIR)",
    )  # fmt: skip
    sub.add_argument(
        "--chain", action="store_true", help="train the stages before, where they are not finished"
    )
    sub.add_argument(
        "--from", dest="from_stage", metavar="STAGE",
        help="what the stages after it start from instead: --stage vl_stage1 --from text_1m",
    )  # fmt: skip
    sub.add_argument("--scale", type=_as(parse_scale), help="of the stage, such as 1/64")
    sub.add_argument("--tokens", type=_as(parse_tokens), help="the stage's budget, such as 2M")
    sub.add_argument("--batch", type=_as(parse_tokens), help="tokens of the first global batch")
    sub.add_argument("--rate", type=_rate, help="the first learning rate after the warm-up")
    sub.add_argument("--long-qa", type=_share, metavar="SHARE", help="of long questions; 0: none")
    sub.add_argument("--variant", help="another curriculum that the stage names, such as smooth")
    sub.add_argument(
        "--epochs", type=_epochs, default=4, help="a document is read so often at most"
    )
    sub.add_argument(
        "--mixture", metavar="FILE", help="what to draw, of which its caps count (or a name)"
    )
    sub.add_argument("--seed", type=_from_zero, default=0)
    sub.add_argument(
        "--processes", type=_count, metavar="N",
        help="ranks to start, one a GPU or core (default: 1, or those that torchrun started)",
    )  # fmt: skip
    sub.add_argument(
        "--ray", metavar="ADDRESS", help="start them over this Ray cluster (auto: the one here)"
    )
    for name, what in (("tp", "tensor"), ("pp", "pipeline"), ("ep", "expert")):
        sub.add_argument(f"--{name}", type=_count, default=1, help=f"{what}-parallel ranks")
    sub.add_argument("--precision", choices=("fp32", "bf16"), help="default: bf16 on a GPU")
    sub.add_argument(
        "--micro-batch", type=_as(parse_tokens), metavar="TOKENS", help="at once, at most"
    )
    sub.add_argument("--recompute", action="store_true", help="less memory, more work")
    sub.add_argument("--save-every", type=_count, default=1000, metavar="STEPS")
    sub.add_argument("--keep", type=_count, default=3, help="last checkpoints that stay")
    sub.add_argument(
        "--keep-every", type=_from_zero, default=0, metavar="STEPS", help="and these stay"
    )
    sub.add_argument("--on-bad-shard", choices=("stop", "skip"), default="stop")
    sub.add_argument(
        "--verify", choices=("hash", "size"), default="hash",
        help="what a shard must show: its hash, for which each process reads all of it once",
    )  # fmt: skip
    sub.add_argument("--deterministic", action="store_true", help="the same bits in every run")
    sub.add_argument(
        "--profile", type=_count, action="append", default=[], metavar="STEP",
        help="write where this step's time goes to DIR/profile (may be said again)",
    )  # fmt: skip
    sub.add_argument("--wandb", metavar="PROJECT", help="log to Weights & Biases too")
    sub.set_defaults(usual=sub.get_default)

    from trainer.convert import command as conversion
    from trainer.data import command as data
    from trainer.evaluation import command as evaluation
    from trainer.generation import command as generation
    from trainer.launch import obeying
    from trainer.stages import command as stages

    for module in (generation, evaluation, conversion, data, obeying, stages):
        module.add_commands(add)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that a person can mend are told in a line."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(given)
    options.given = given
    try:
        code: int = options.run(options)
    except Exception as error:
        answer = exit_code(error)
        if answer is None:
            raise
        return _fail(options, str(error), answer)
    return code


def exit_code(error: Exception) -> int | None:
    """The exit code of an error whose text says all; None for a defect."""
    from dataflow.recipe import RecipeError
    from trainer.launch.errors import LaunchFailed

    if isinstance(error, LaunchFailed):
        return error.code
    if isinstance(error, RecipeError):
        return WRONG_USAGE
    return FAILED if isinstance(error, _told()) else None


def _told() -> tuple[type[Exception], ...]:
    """Errors whose text says all; others are defects and keep their traceback."""
    from dataflow.run import RunError
    from dataflow.tokenizer.errors import TokenizerError
    from mixtures.errors import PlanError
    from trainer.convert.errors import ConversionError
    from trainer.data.errors import DataError
    from trainer.evaluation.errors import EvaluationError
    from trainer.generation.errors import GenerationError
    from trainer.logs import MetricsError
    from trainer.megatron.checkpoints import CheckpointBroken, SaveFailed
    from trainer.run.request import RunRefused
    from trainer.stages.mixture import MissingComponent

    return (
        RunRefused, RunError, PlanError, DataError, MetricsError, ConversionError,
        CheckpointBroken, SaveFailed, MissingComponent,
        TokenizerError, GenerationError, EvaluationError,
    )  # fmt: skip


def _fail(options: argparse.Namespace, text: str, code: int) -> int:
    from trainer.launch.one_voice import tell_once

    def tell() -> None:
        if options.json:
            sys.stdout.write(orjson.dumps({"ok": False, "error": text}).decode() + "\n")
        else:
            sys.stderr.write(f"error: {text}\n")
        sys.stdout.flush()

    tell_once(text, tell)
    return code


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")
    return int(text)


def _from_zero(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 63:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 0")
    return int(text)


def _epochs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_EPOCHS:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a whole number from 1 to {MAX_EPOCHS}"
        )
    return int(text)


def _rate(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number above 0, such as 3e-4")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a share from 0 to 1")
    return value


def _number(text: str) -> float:
    """NaN where it is none, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _as(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser whose ValueError argparse shows."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _run(options: argparse.Namespace) -> int:
    from trainer.launch.launch import is_wanted, launch

    if is_wanted(options.processes, options.ray):
        return launch(
            options.given, options.processes, options.ray, str(options.out), quiet=options.json
        )
    from trainer.run.train import is_finished, train

    for request in _requests(options):
        last = request.out == options.out
        if not last and is_finished(request.out):
            continue
        outcome = train(request)
        if os.environ.get("RANK", "0") != "0":
            pass  # the first rank tells
        elif options.json:
            sys.stdout.write(orjson.dumps(outcome.as_json()).decode() + "\n")
        else:
            sys.stdout.write(f"{_sentence(outcome)}; in {request.out}\n")
        if outcome.state == "stopped":
            return FAILED
        if not last and outcome.state != "finished":
            break
    return DONE


def _requests(options: argparse.Namespace) -> list[Request]:
    """The stage asked for, behind those that it comes after where the chain is asked for."""
    from mixtures.recipe import load_mixture
    from trainer.megatron.checkpoints import Keep
    from trainer.megatron.start import Layout
    from trainer.run.images import check_tiling
    from trainer.run.request import Request
    from trainer.stages.loading import load_model
    from trainer.stages.usual import stage_of

    model = load_model(options.model)
    usual = model.stages
    mixture = None if options.mixture is None else load_mixture(options.mixture)
    precision: Precision = options.precision or _precision()
    found: list[Request] = []
    names = _names(options) if options.chain or options.from_stage else [options.stage]
    for name, before in zip(names, [None, *names], strict=False):
        last = name == names[-1]
        if not options.chain and not last:
            continue
        stage = stage_of(
            model,
            name,
            scale=options.scale,
            variant=options.variant,
            tokens=options.tokens,
            batch=options.batch,
            rate=options.rate,
            long_qa=options.long_qa,
        )
        if before is not None and before == options.from_stage:
            stage = stage.model_copy(update={"after": Path(before).stem})
        # Of all stages before the first begins: the last one's fault should not wait for hours.
        check_tiling(model, stage)
        found.append(
            Request(
                model=model,
                stage=stage,
                corpus=options.corpus,
                out=options.out if last else options.out.parent / stage.name,
                layout=Layout(options.tp, options.pp, options.ep),
                steps=options.steps if last else None,
                resume=options.resume or not last,
                start_from=options.start_from if last else None,
                seed=options.seed,
                precision=precision,
                micro_batch=options.micro_batch or usual.micro_batch,
                recompute=options.recompute,
                save_every=options.save_every,
                keep=Keep(options.keep, options.keep_every),
                epochs=options.epochs,
                # Stages before may draw for themselves: the mixture is of the others.
                mixture=mixture if last or stage.draws is None else None,
                on_bad_shard=options.on_bad_shard,
                verify=options.verify,
                deterministic=options.deterministic,
                profile=tuple(options.profile) if last else (),
                json=options.json,
                wandb=options.wandb,
                make_before=_make_before(options),
            )
        )
    return found


_SAME = (
    "scale", "tokens", "batch", "rate", "long_qa", "variant", "epochs", "mixture", "seed",
    "processes", "ray", "tp", "pp", "ep", "precision", "micro_batch", "recompute", "on_bad_shard",
    "verify", "deterministic",
)  # fmt: skip
"""Options that hold for the stage before too, as they do in a chain."""


def _names(options: argparse.Namespace) -> list[str]:
    """The stages up to the one asked for, by the way that ``--from`` names."""
    from trainer.stages.loading import chain, joined

    names = chain(options.stage, options.variant)
    if options.from_stage is None:
        return names
    return joined(names, chain(options.from_stage, options.variant))


def _make_before(options: argparse.Namespace) -> tuple[str, ...]:
    """The options that make the stage before, as they were given for this one.

    Empty where there is no such stage, or it is not known: ``--start-from`` needs no recipe of it.
    """
    from dataflow.recipe import RecipeError

    try:
        names = _names(options)
    except RecipeError:
        return ()
    if len(names) < 2:
        return ()
    told = ["--stage", names[-2], "--model", options.model, "--corpus", options.corpus]
    if options.from_stage in names[:-2]:
        told += ["--from", options.from_stage]
    for name in _SAME:
        value, flag = getattr(options, name), f"--{name.replace('_', '-')}"
        if value is True:
            told.append(flag)
        elif value is not None and value != options.usual(name):
            told += [flag, str(value)]
    return tuple(told)


def _precision() -> Precision:
    import torch

    return "bf16" if torch.cuda.is_available() else "fp32"


def _sentence(outcome: Outcome) -> str:
    told = f"{outcome.stage}: {outcome.state} at step {outcome.step} of {outcome.steps}"
    loss = "" if outcome.loss is None else f", loss {outcome.loss:.4f}"
    why = f" ({outcome.why})" if outcome.why else ""
    return f"{told}{why}, {outcome.tokens:,} tokens{loss}"
