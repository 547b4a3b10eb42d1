"""What a distributed checkpoint holds of a model, and that any layout reads it."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.trainer.models.small import build, recipe
from tests.trainer.ranks import run_ranks
from trainer.megatron.start import Layout, start

MODEL = recipe()


def reload(layout: Layout, source: str | None, target: str) -> tuple[list[str], list[str]]:
    """Draws a model, loads it from ``source`` over another, saves it to ``target``.

    Returns the names of parameters that differ from what was drawn, and those given for saving.
    """
    place = start(layout, 1)
    from megatron.core import dist_checkpointing

    ends = {"pre_process": place.is_first_stage, "post_process": place.is_last_stage}
    expected = model = build(MODEL, layout, **ends)
    if source is not None:
        model = build(MODEL, layout, seed=5, **ends)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1
            model.load_state_dict(dist_checkpointing.load(model.sharded_state_dict(), source))
    pairs = zip(model.named_parameters(), expected.parameters(), strict=True)
    wrong = [name for (name, found), wanted in pairs if not torch.equal(found, wanted)]
    state = model.sharded_state_dict()
    dist_checkpointing.save(state, target)
    return wrong, [entry.key for entry in state.values()]


def test_any_layout_reads_any_other(tmp_path: Path) -> None:
    names: list[set[str]] = []
    source: str | None = None
    for layout, world in (
        (Layout(tp=2, ep=2), 2),
        (Layout(pp=2), 2),
        (Layout(), 1),
        (Layout(tp=2), 2),
    ):
        target = tmp_path / str(layout)
        target.mkdir()
        answers = run_ranks(reload, world, layout, source, str(target))
        assert [wrong for wrong, _ in answers] == [[]] * world, layout
        names.append({name for _, given in answers for name in given})
        source = str(target)
    assert all(found == names[0] for found in names)
    assert {name for name in names[0] if ".3." in name and "_extra_state" not in name} == {
        f"decoder.layers.3.{name}"
        for name in (
            "input_layernorm.weight",
            "self_attention.linear_qkv.weight",
            "self_attention.linear_proj.weight",
            "pre_mlp_layernorm.weight",
            "mlp.router.weight",
            "mlp.experts.gate_up",
            "mlp.experts.down",
        )
    }
