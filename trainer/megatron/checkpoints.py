"""Checkpoints that exist only when they are whole, and load on another number of ranks.

A checkpoint of step 1000 is the folder ``step-00001000``:

    __<rank>_<i>.distcp  .metadata  metadata.json  common.pt    Megatron-Core's "torch_dist" format
    state.json        what the caller gave: where the data stands, metrics, the recipe
    complete.json     every other file with its size; written last

A folder without ``complete.json``, or with a file missing or cut, is no checkpoint. Weights and
the optimizer's states (the float32 parameters, both moments) are stored as whole tensors under the
names of the parameters: they load on any tensor-, pipeline-, expert- and data-parallel layout, with
experts spread or not. Megatron-Core's own state of an optimizer cannot do the last: it is keyed by
the optimizers that the layout makes.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from trainer.megatron.faults import fill_adam_state

_log = logging.getLogger(__name__)

_MARKER = "complete.json"
_STATE = "state.json"
_FORMAT = 1


class CheckpointBroken(Exception):
    """A folder is no whole checkpoint.

    Attributes:
        found: the file, what was found and what was expected.
        advice: what to do, where that is known.
        was_whole: whether it has been one, for it has its marker.
    """

    def __init__(self, found: str, advice: str = "", *, was_whole: bool = True) -> None:
        super().__init__(found, advice)
        self.found, self.advice, self.was_whole = found, advice, was_whole

    def __str__(self) -> str:
        return f"{self.found}; {self.advice}" if self.advice else self.found


class SaveFailed(Exception):
    """A checkpoint could not be written; those before it are as they were."""


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay when one is saved: ``last`` ones, and steps that ``every`` divides.

    ``every`` 0: only the last ones.
    """

    last: int = 3
    every: int = 0

    def __post_init__(self) -> None:
        if self.last < 1:
            raise ValueError(f"keep.last: found {self.last}, expected at least 1")
        if self.every < 0:
            raise ValueError(f"keep.every: found {self.every}, expected 0 or more")

    def of(self, steps: Sequence[int]) -> set[int]:
        """The steps of ``steps`` that stay."""
        chosen = {step for step in steps if self.every and step % self.every == 0}
        return chosen | set(sorted(steps)[-self.last :])


KEEP = Keep()


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step-{step:08d}"


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted(folder.glob("step-*")) if folder.is_dir() else ():
        number = re.fullmatch(r"step-(\d{8,})", path.name)
        if number and path.is_dir():
            yield int(number[1]), path


def _check(path: Path) -> dict[str, Any]:
    """The manifest of a whole checkpoint."""
    if not path.is_dir():
        raise CheckpointBroken(f"{path}: found no such folder, expected a checkpoint")
    try:
        manifest: dict[str, Any] = json.loads((path / _MARKER).read_bytes())
    except FileNotFoundError:
        raise CheckpointBroken(
            f"{path}: found no {_MARKER}, expected it in a whole checkpoint",
            "the save was cut short: use an earlier step, and delete this folder",
            was_whole=False,
        ) from None
    except ValueError as error:
        raise CheckpointBroken(f"{path / _MARKER}: found {error}, expected JSON") from error
    if manifest.get("format") != _FORMAT:
        raise CheckpointBroken(
            f"{path / _MARKER}: found format {manifest.get('format')!r}, expected {_FORMAT}",
            "load it with the version that wrote it",
        )
    for name, size in manifest["files"].items():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            raise CheckpointBroken(
                f"{file}: found {'no file' if found is None else f'{found} bytes'}, expected "
                f"{size} bytes",
                "use an earlier step, and delete this folder",
            )
    return manifest


def steps(folder: Path) -> list[int]:
    """The steps of the whole checkpoints in ``folder``, ascending.

    What is wrong with others is logged, once and by one rank.
    """
    whole, broken = _looked_at(folder)
    for error in broken:
        _warn(f"not a checkpoint: {error}")
    return whole


def latest(folder: Path) -> int | None:
    """The last step of which there is a whole checkpoint, None where none was made yet.

    A single folder without a marker is what a kill in the first save leaves: none was made.

    Raises:
        CheckpointBroken: there were checkpoints, and none is whole. Whoever took that for none
            would begin again, and write over what can still be mended.
    """
    whole, broken = _looked_at(folder)
    if not whole and (len(broken) > 1 or any(error.was_whole for error in broken)):
        last = broken[-1]
        raise CheckpointBroken(
            last.found,
            f"no checkpoint in {folder} is whole and of this format: copy its files here again "
            "from where they are whole, or go on with the version that wrote them; to begin anew, "
            "name another folder or move this one away",
        )
    return max(steps(folder), default=None)


def _looked_at(folder: Path) -> tuple[list[int], list[CheckpointBroken]]:
    """The steps of whole checkpoints, ascending, and what is wrong with the others, by step."""
    whole: list[int] = []
    broken: list[tuple[int, CheckpointBroken]] = []
    for step, path in _numbered(folder):
        try:
            _check(path)
        except CheckpointBroken as error:
            broken.append((step, error))
        else:
            whole.append(step)
    return sorted(whole), [error for _, error in sorted(broken, key=lambda one: one[0])]


@cache
def _warn(text: str) -> None:
    """Say it once: folders are looked at many times, and by every rank."""
    if os.environ.get("RANK", "0") == "0":
        _log.warning("%s", text)


def _together(work: Callable[[], Any], path: Path) -> Any:
    """``work()`` on this rank; raises SaveFailed on every rank where it raised on any."""
    answer, error = None, ""
    try:
        answer = work()
    except Exception as found:  # noqa: BLE001 - raised on every rank below
        error = _told(found, path)
    errors: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(errors, error)
    for rank, found_error in enumerate(errors):
        if found_error:
            if dist.get_rank() == 0:
                shutil.rmtree(path, ignore_errors=True)  # an unmarked folder only takes up room
            raise SaveFailed(
                f"{path}: rank {rank} found {found_error}; make room or mend it, and save again; "
                "earlier checkpoints are whole"
            )
    return answer


_FULL = (errno.ENOSPC, errno.EDQUOT)
_CUT_SHORT = ("unexpected pos", "PytorchStreamWriter failed writing", "No space left")
"""What torch says, who does not look at errno, when it wrote less than it wanted to."""


def _told(error: BaseException, path: Path) -> str:
    """An error in a line; one that a full disk has caused says so."""
    text = f"{type(error).__name__}: {error}"
    full = isinstance(error, OSError) and error.errno in _FULL
    if not full and not any(part in text for part in _CUT_SHORT):
        return text
    place = next(one for one in path.parents if one.is_dir())
    free = shutil.disk_usage(place).free
    return f"a full disk or quota: {free:,} bytes are free in {place} ({text.splitlines()[0]})"


def _on_first(work: Callable[[], None]) -> Callable[[], None]:
    return work if dist.get_rank() == 0 else lambda: None


def _optimizers(optimizer: Any) -> list[Any]:
    """The distributed optimizers that an optimizer is made of: one for experts that are spread."""
    return [inner for inner in optimizer.chained_optimizers if not inner.is_stub_optimizer]


def _adam_step(optimizer: Any) -> int:
    """How many steps Adam has taken: the same for every parameter of every rank."""
    mine = {
        float(state["step"])
        for inner in _optimizers(optimizer)
        for state in inner.optimizer.state.values()
    }
    of_ranks: list[set[float]] = [set()] * dist.get_world_size()
    dist.all_gather_object(of_ranks, mine)
    taken = set().union(*of_ranks)
    if len(taken) != 1:
        raise ValueError(
            f"found parameters at steps {sorted(taken)} of Adam, expected one step of all; "
            "parameters that join later need an optimizer built anew"
        )
    return int(taken.pop())


def _metadata() -> dict[str, Any]:
    return {
        "distrib_optim_sharding_type": "fully_reshardable",
        "chained_optim_avoid_prefix": True,
        # Layers differ (lightning, softmax): each is stored by its number.
        "non_homogeneous_layers": True,
    }


def _models(ddp_chunks: Sequence[Any]) -> dict[str, Any]:
    return {
        f"model{number}": chunk.module.sharded_state_dict(metadata=_metadata())
        for number, chunk in enumerate(ddp_chunks)
    }


def _sharded(ddp_chunks: Sequence[Any], optimizer: Any, *, is_loading: bool) -> dict[str, Any]:
    """Everything that is stored sharded, as Megatron-Core describes shards."""
    state = _models(ddp_chunks)
    if optimizer is not None:
        models = dict(state)
        for number, inner in enumerate(_optimizers(optimizer)):
            fill_adam_state(inner.optimizer)
            state[f"optimizer{number}"] = inner.sharded_param_state_fully_reshardable(
                models, is_loading, _metadata()
            )
    return state


def _strategy() -> Any:
    """Megatron-Core's "torch_dist" strategy, which leaves its last step to ``Saving``.

    Its own raises on the first rank alone where that one cannot write (a full disk): the others
    would wait for it until their collectives time out.
    """
    from megatron.core.dist_checkpointing.strategies.async_utils import AsyncRequest
    from megatron.core.dist_checkpointing.strategies.torch import TorchDistSaveShardedStrategy

    class Strategy(TorchDistSaveShardedStrategy):  # type: ignore[misc]
        def _get_save_and_finalize_callbacks(self, writer: Any, planned: Any) -> Any:
            self.writer, self.global_metadata = writer, planned[1]
            write, stage, arguments = writer.get_save_function_and_args()
            return AsyncRequest(write, arguments, [], preload_fn=stage)

    return Strategy("torch_dist", 1)


class Saving:
    """A checkpoint that is being written; ``finish`` makes it one."""

    def __init__(self, path: Path, step: int, keep: Keep, adam_step: int | None) -> None:
        self.path, self.step = path, step
        self._keep, self._adam_step = keep, adam_step
        self._strategy = _strategy()
        self._written: Future[None] | None = None
        self._finished = False

    def _start(self, sharded: dict[str, Any], state: bytes, *, asynchronous: bool) -> None:
        from megatron.core import parallel_state
        from megatron.core.dist_checkpointing.serialization import get_default_save_common_strategy
        from megatron.core.dist_checkpointing.state_dict_utils import save_preprocess
        from megatron.core.dist_checkpointing.strategies.fully_parallel import (
            FullyParallelSaveStrategyWrapper,
        )

        shards, common = save_preprocess(sharded)

        def prepare() -> None:
            if self.path.exists():
                # One that was cut short, or of a run that went back: no longer a checkpoint.
                (self.path / _MARKER).unlink(missing_ok=True)
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True)
            (self.path / _STATE).write_bytes(state)
            get_default_save_common_strategy().save_common(common, self.path)

        _together(_on_first(prepare), self.path)
        parallel = FullyParallelSaveStrategyWrapper(
            self._strategy, parallel_state.get_data_parallel_group(with_context_parallel=True)
        )
        request = parallel.async_save(shards, self.path)
        if request.async_fn is None:
            return  # this rank has nothing to write
        rank, _, results = request.async_fn_args
        buckets = request.preload_fn()
        if asynchronous and not torch.cuda.is_available():
            # On a GPU these are copies already; here training would go on writing to them.
            buckets = [
                (file, key, (blobs, [(item, tensor.clone()) for item, tensor in tensors]))
                for file, key, (blobs, tensors) in buckets
            ]
        if asynchronous:
            threads = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
            self._written = threads.submit(request.async_fn, rank, buckets, results)
            threads.shutdown(wait=False)
        else:
            request.async_fn(rank, buckets, results)

    @property
    def is_written(self) -> bool:
        """Whether this rank's files are: ``finish`` would not wait for this rank."""
        return self._written is None or self._written.done()

    def finish(self) -> None:
        """Waits for every rank's files and makes the folder a checkpoint; on every rank.

        Then deletes the checkpoints that ``keep`` does not name, and folders that never became one.

        Raises:
            SaveFailed: on every rank, where any could not write; earlier checkpoints stay.
        """
        if self._finished:
            return
        self._finished = True
        writer = self._strategy.writer

        def written() -> Any:
            if self._written is not None:
                self._written.result()
            found = writer.retrieve_write_results()
            if not isinstance(found, list):  # torch's pair of an exception and its traceback
                raise found[0]
            return found

        mine = _together(written, self.path)
        of_ranks: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(of_ranks, mine)
        _together(_on_first(lambda: self._complete(of_ranks)), self.path)

    def _complete(self, write_results: list[Any]) -> None:
        from megatron.core.dist_checkpointing.core import CheckpointingConfig, save_config

        self._strategy.writer.finish(self._strategy.global_metadata, write_results)
        save_config(CheckpointingConfig("torch_dist", 1), self.path)
        _mark(self.path, self.step, self._adam_step)
        _prune(self.path.parent, self.step, self._keep)


def _mark(path: Path, step: int, adam_step: int | None) -> None:
    """Writes the marker: after everything else is on the disk, and at once."""
    files = sorted(file for file in path.iterdir() if file.is_file())
    for file in files:
        _sync(file)
    manifest = {
        "format": _FORMAT,
        "step": step,
        "adam_step": adam_step,
        "files": {file.name: file.stat().st_size for file in files},
    }
    part = path / f"{_MARKER}.part"
    part.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    _sync(part)
    _sync(path)
    part.rename(path / _MARKER)
    _sync(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prune(folder: Path, saved: int, keep: Keep) -> None:
    whole = steps(folder)
    # What was just saved stays, though a run that went back left later ones.
    kept = keep.of(whole) | {saved}
    for step, _ in _numbered(folder):
        if step not in kept and (step in whole or step < saved):  # a later one may be in writing
            delete(folder, step)


def delete(folder: Path, step: int) -> None:
    """Delete the checkpoint of a step; one process calls it."""
    path = path_of(folder, step)
    (path / _MARKER).unlink(missing_ok=True)  # first: it is no checkpoint from here on
    shutil.rmtree(path)
    _log.info("deleted %s", path)


def begin(
    folder: Path,
    step: int,
    ddp_chunks: Sequence[Any],
    optimizer: Any,
    state: dict[str, Any],
    *,
    keep: Keep = KEEP,
) -> Saving:
    """Copies everything of step ``step`` to memory and starts to write it, in a thread.

    Training may go on at once. Nothing is a checkpoint before ``finish`` of what this returns,
    which every rank calls, and before the next save. Arguments and errors are those of ``save``.
    """
    return _begin(folder, step, ddp_chunks, optimizer, state, keep, asynchronous=True)


def save(
    folder: Path,
    step: int,
    ddp_chunks: Sequence[Any],
    optimizer: Any,
    state: dict[str, Any],
    *,
    keep: Keep = KEEP,
) -> None:
    """Saves the checkpoint of step ``step`` in ``folder``; every rank calls it.

    ``ddp_chunks`` are those of ``trainer.megatron.optimizer.wrap``, ``optimizer`` is that of
    ``build_optimizer``, or None for the weights alone, and ``state`` is what JSON can hold, the
    same on every rank. ``folder`` is shared by all ranks. A checkpoint of the same step is
    replaced; then those that ``keep`` does not name are deleted.

    Raises:
        SaveFailed: on every rank, where any could not write; earlier checkpoints stay.
        TypeError, ValueError: ``state`` is not what JSON holds, or parameters have taken different
            numbers of steps.
    """
    _begin(folder, step, ddp_chunks, optimizer, state, keep, asynchronous=False).finish()


def _begin(
    folder: Path,
    step: int,
    ddp_chunks: Sequence[Any],
    optimizer: Any,
    state: dict[str, Any],
    keep: Keep,
    *,
    asynchronous: bool,
) -> Saving:
    encoded = json.dumps(state, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    with torch.no_grad():
        sharded = _sharded(ddp_chunks, optimizer, is_loading=False)
        adam_step = None if optimizer is None else _adam_step(optimizer)
        saving = Saving(path_of(folder, step), step, keep, adam_step)
        saving._start(sharded, encoded, asynchronous=asynchronous)
    return saving


def read_state(folder: Path, step: int) -> dict[str, Any]:
    """The ``state`` that the checkpoint of a step was saved with.

    Raises:
        CheckpointBroken: there is no whole checkpoint of that step.
    """
    path = path_of(folder, step)
    _check(path)
    state: dict[str, Any] = json.loads((path / _STATE).read_bytes())
    return state


def load(folder: Path, step: int, ddp_chunks: Sequence[Any], optimizer: Any) -> dict[str, Any]:
    """Loads the checkpoint of a step into chunks and optimizer; every rank calls it.

    The layout need not be the one that saved it. Learning rate and other settings stay the
    optimizer's own. With ``optimizer`` None only weights are read: then build the optimizer after.

    Returns:
        The ``state`` that it was saved with.

    Raises:
        CheckpointBroken: there is no whole checkpoint of that step.
        megatron.core.dist_checkpointing.core.CheckpointingException: the checkpoint has parameters
            that the model has not, or the other way round; it names them.
    """
    path = path_of(folder, step)
    manifest = _check(path)
    adam_step = manifest["adam_step"]
    if optimizer is not None and adam_step is None:
        raise CheckpointBroken(
            f"{path}: found weights alone, expected the optimizer's states too",
            "load with no optimizer and build one after",
        )
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing.validation import StrictHandling

    with torch.no_grad():  # float32 parameters are loaded in place
        loaded = dist_checkpointing.load(
            _sharded(ddp_chunks, optimizer, is_loading=True),
            str(path),
            # Of weights alone, what the optimizer has stored is left over.
            strict=StrictHandling.RAISE_UNEXPECTED
            if optimizer is None
            else StrictHandling.RAISE_ALL,
        )
        for number, chunk in enumerate(ddp_chunks):
            chunk.module.load_state_dict(loaded[f"model{number}"])
        for number, inner in enumerate(_optimizers(optimizer) if optimizer is not None else ()):
            # Nothing comes back of nothing: of a pipeline stage whose parameters are all frozen.
            mine = loaded.get(f"optimizer{number}", {})
            inner.load_parameter_state_from_fully_reshardable(mine)
            for state in inner.optimizer.state.values():
                state["step"].fill_(adam_step)
    return read_state(folder, step)
