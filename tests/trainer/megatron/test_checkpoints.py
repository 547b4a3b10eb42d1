"""Checkpoints: whole or none, kept by rule, the same curve on every layout."""

from __future__ import annotations

import errno
import json
import logging
import re
import resource
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.trainer.megatron import stock_model
from tests.trainer.ranks import run_ranks
from trainer.megatron import checkpoints
from trainer.megatron.checkpoints import CheckpointBroken, Keep, SaveFailed
from trainer.megatron.start import Layout

STATE = {"data": {"plan": "ab12", "next": 12}, "loss": 4.25}


class Saved(NamedTuple):
    """A run: its folder, where step 3 was saved, and what its steps 3 and 4 gave."""

    folder: Path
    curve: list[list[float]]


def _train_and_save(folder: str, layout: Layout, precision: str) -> list[list[float]]:
    started = stock_model.begin(layout, precision=precision)
    stock_model.train(started, 0, 3)
    checkpoints.save(Path(folder), 3, started.chunks, started.optimizer, STATE)
    return stock_model.train(started, 3, 2)


def _go_on(folder: str, layout: Layout, precision: str) -> tuple[Any, list[list[float]]]:
    started = stock_model.begin(layout, precision=precision, seed=99)
    step = checkpoints.latest(Path(folder))
    assert step == 3
    state = checkpoints.load(Path(folder), step, started.chunks, started.optimizer)
    return state, stock_model.train(started, 3, 2)


def _saved(folder: Path, layout: Layout, world: int, precision: str) -> Saved:
    return Saved(folder, run_ranks(_train_and_save, world, str(folder), layout, precision)[0])


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Saved by one rank."""
    return _saved(tmp_path_factory.mktemp("one"), Layout(), 1, "fp32")


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Saved by two tensor-parallel ranks with the experts spread over them, in bf16."""
    return _saved(tmp_path_factory.mktemp("two"), Layout(tp=2, ep=2), 2, "bf16")


def _agree(found: list[list[float]], expected: list[list[float]], tolerance: float) -> None:
    torch.testing.assert_close(
        torch.tensor(found), torch.tensor(expected), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize(
    ("layout", "world"),
    [
        (Layout(), 1),
        (Layout(), 2),
        (Layout(pp=2), 2),
        (Layout(ep=2), 2),  # two optimizers where the one that saved had one
        (Layout(tp=2, ep=2), 2),
    ],
    ids=lambda found: f"{found}",
)
def test_a_run_goes_on_along_the_same_curve_on_any_layout(
    by_one: Saved, layout: Layout, world: int
) -> None:
    answers = run_ranks(_go_on, world, str(by_one.folder), layout, "fp32")
    for state, curve in answers:
        assert state == STATE
        _agree(curve, by_one.curve, 2e-6)


@pytest.mark.parametrize(("layout", "world"), [(Layout(), 1), (Layout(pp=2), 2)])
def test_bf16_with_experts_spread_goes_on_with_them_together(
    by_two: Saved, layout: Layout, world: int
) -> None:
    for state, curve in run_ranks(_go_on, world, str(by_two.folder), layout, "bf16"):
        assert state == STATE
        _agree(curve, by_two.curve, 2e-2)


def test_the_same_layout_goes_on_bitwise(by_two: Saved) -> None:
    answers = run_ranks(_go_on, 2, str(by_two.folder), Layout(tp=2, ep=2), "bf16")
    assert [curve for _, curve in answers] == [by_two.curve] * 2


def _load_weights(folder: str) -> tuple[float, float]:
    started = stock_model.begin(Layout(), seed=99)
    before = stock_model.gradients(started, 3)
    checkpoints.load(Path(folder), 3, started.chunks, None)
    return before, stock_model.gradients(started, 3)


def test_weights_load_without_the_optimizer(by_one: Saved) -> None:
    [(before, after)] = run_ranks(_load_weights, 1, str(by_one.folder))
    assert after == by_one.curve[0][0] != before


def _load_another_model(folder: str) -> None:
    started = stock_model.begin(Layout(), num_layers=3)
    checkpoints.load(Path(folder), 3, started.chunks, started.optimizer)


def test_a_model_with_other_parameters_is_refused_by_their_names(by_one: Saved) -> None:
    with pytest.raises(Exception, match=r"decoder\.layers\.2\."):
        run_ranks(_load_another_model, 1, str(by_one.folder))


def _files(folder: Path) -> Path:
    """A whole checkpoint of step 5 as far as its marker goes."""
    path = checkpoints.path_of(folder, 5)
    path.mkdir(parents=True)
    (path / "state.json").write_text('{"next": 7}\n')
    (path / "__0_0.distcp").write_bytes(b"12345678")
    checkpoints._mark(path, 5, 5)
    return path


def test_a_whole_checkpoint_is_found(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path / "absent") is None
    assert checkpoints.latest(tmp_path) is None
    path = _files(tmp_path)
    assert path.name == "step-00000005"
    assert checkpoints.latest(tmp_path) == 5
    assert checkpoints.read_state(tmp_path, 5) == {"next": 7}
    assert json.loads((path / "complete.json").read_text())["files"] == {
        "__0_0.distcp": 8,
        "state.json": 12,
    }


@pytest.mark.parametrize(
    ("break_it", "found"),
    [
        (lambda path: (path / "complete.json").unlink(), "found no complete.json"),
        (lambda path: (path / "complete.json").write_text("{"), "expected JSON"),
        (lambda path: (path / "__0_0.distcp").unlink(), "__0_0.distcp: found no file"),
        (lambda path: (path / "__0_0.distcp").write_bytes(b"1234"), "found 4 bytes, expected 8"),
        (lambda path: (path / "complete.json").write_text('{"format": 2}'), "found format 2"),
    ],
)
def test_what_is_not_whole_is_never_loaded_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, break_it: Any, found: str
) -> None:
    path = _files(tmp_path)
    break_it(path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert checkpoints.steps(tmp_path) == []
    (told,) = caplog.messages  # not each time that a run looks at its folder
    assert found in told
    assert str(path) in told
    with pytest.raises(CheckpointBroken, match="step-00000005"):
        checkpoints.load(tmp_path, 5, [], None)


@pytest.mark.parametrize(
    ("break_it", "found"),
    [
        (lambda path: (path / "__0_0.distcp").unlink(), "__0_0.distcp: found no file"),
        (lambda path: (path / "complete.json").write_text("{"), "expected JSON"),
        (lambda path: (path / "complete.json").write_text('{"format": 2}'), "found format 2"),
    ],
)
def test_checkpoints_of_which_none_is_whole_are_not_taken_for_none(
    tmp_path: Path, break_it: Any, found: str
) -> None:
    break_it(_files(tmp_path))
    with pytest.raises(CheckpointBroken, match=found) as told:
        checkpoints.latest(tmp_path)
    assert f"no checkpoint in {tmp_path} is whole and of this format" in str(told.value)


def test_what_a_kill_in_the_first_save_leaves_is_no_checkpoint(tmp_path: Path) -> None:
    (_files(tmp_path) / "complete.json").unlink()
    assert checkpoints.latest(tmp_path) is None
    (tmp_path / "step-00000009").mkdir()  # a second save begins when the first is whole
    with pytest.raises(CheckpointBroken, match=r"step-00000009: found no complete\.json"):
        checkpoints.latest(tmp_path)


def test_no_checkpoint_of_a_step(tmp_path: Path) -> None:
    with pytest.raises(CheckpointBroken, match="step-00000006: found no such folder"):
        checkpoints.read_state(tmp_path, 6)


def test_keep() -> None:
    taken = [100, 200, 300, 400, 500]
    assert Keep(last=2).of(taken) == {400, 500}
    assert Keep(last=1, every=200).of(taken) == {200, 400, 500}
    with pytest.raises(ValueError, match=r"keep\.last: found 0"):
        Keep(last=0)
    with pytest.raises(ValueError, match=r"keep\.every: found -1"):
        Keep(every=-1)


def _save_many(folder: str) -> list[str]:
    started = stock_model.begin(Layout())
    for step in (1, 2, 3, 4, 6):
        path = checkpoints.path_of(Path(folder), step)
        path.mkdir()
        (path / "__0_0.distcp").write_bytes(b"of a save that was killed")
        checkpoints.save(
            Path(folder), step, started.chunks, None, STATE, keep=Keep(last=2, every=3)
        )
    checkpoints.save(Path(folder), 1, started.chunks, None, STATE, keep=Keep(last=1))
    return sorted(path.name for path in Path(folder).iterdir())


def test_saves_replace_what_was_cut_short_and_delete_what_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "step-00000005").mkdir()  # a killed save of a step that is not saved again
    [names] = run_ranks(_save_many, 1, str(tmp_path))
    assert names == ["step-00000001", "step-00000006"]  # the one of a run that went back stays


def _save_while_training(folder: str) -> tuple[Any, Any]:
    started = stock_model.begin(Layout())
    stock_model.train(started, 0, 1)
    saving = checkpoints.begin(Path(folder), 1, started.chunks, started.optimizer, STATE)
    assert checkpoints.latest(Path(folder)) is None
    expected = stock_model.train(started, 1, 3)
    saving.finish()
    saving.finish()  # nothing the second time
    assert saving.is_written
    step = checkpoints.latest(Path(folder))
    assert step == 1
    checkpoints.load(Path(folder), step, started.chunks, started.optimizer)
    return expected, stock_model.train(started, 1, 3)


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    for expected, found in run_ranks(_save_while_training, 2, str(tmp_path)):
        assert found == expected


def _save_on_a_full_disk(folder: str, full: str) -> tuple[str, list[str]]:
    started = stock_model.begin(Layout())
    stock_model.train(started, 0, 1)
    checkpoints.save(Path(folder), 1, started.chunks, started.optimizer, STATE)
    stock_model.train(started, 1, 1)
    if started.ranks.rank == 0:
        if full == "tensors":  # no file may grow beyond: as a full disk, and without root
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        else:
            from megatron.core.dist_checkpointing.strategies import filesystem_async

            def finish(*_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            filesystem_async.FileSystemWriterAsync.finish = finish
    try:
        checkpoints.save(Path(folder), 2, started.chunks, started.optimizer, STATE)
    except SaveFailed as error:
        found = str(error)
    else:
        found = "saved"
    assert checkpoints.latest(Path(folder)) == 1
    checkpoints.load(Path(folder), 1, started.chunks, started.optimizer)
    return found, sorted(path.name for path in Path(folder).iterdir())


@pytest.mark.parametrize(
    ("full", "expected"), [("tensors", "File too large"), ("metadata", "No space left")]
)
def test_a_full_disk_of_one_rank_stops_every_rank_and_leaves_the_last_checkpoint(
    tmp_path: Path, full: str, expected: str
) -> None:
    for error, names in run_ranks(_save_on_a_full_disk, 2, str(tmp_path), full, seconds=60):
        assert "step-00000002: rank 0 found" in error
        assert expected in error
        assert names == ["step-00000001"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
    ],
)
def test_a_full_disk_is_called_one(tmp_path: Path, error: Exception) -> None:
    found = checkpoints._told(error, tmp_path / "checkpoints" / "step-00000002")
    assert re.match(rf"a full disk or quota: [\d,]+ bytes are free in {tmp_path} \(", found)
    assert str(error) in found
    other = checkpoints._told(OSError(errno.EIO, "Input/output error"), tmp_path)
    assert other == "OSError: [Errno 5] Input/output error"


def _save_what_json_cannot_hold(folder: str) -> None:
    started = stock_model.begin(Layout())
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save(Path(folder), 1, started.chunks, None, {"path": Path(folder)})
    with pytest.raises(ValueError, match="Out of range float"):
        checkpoints.save(Path(folder), 1, started.chunks, None, {"loss": float("nan")})
    checkpoints.save(Path(folder), 1, started.chunks, None, STATE)
    with pytest.raises(CheckpointBroken, match="found weights alone"):
        checkpoints.load(Path(folder), 1, started.chunks, started.optimizer)


def test_what_cannot_be_saved_or_loaded_says_so(tmp_path: Path) -> None:
    run_ranks(_save_what_json_cannot_hold, 1, str(tmp_path))
