"""What a stage asks of a plan, as ``python -m trainer show-stage`` prints it.

This room stands below the trainer, so it does not import its stages: it asks for them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mixtures.errors import PlanRefused
from mixtures.spec import Component, PlanSpec

EVERYTHING = "all"


def show_stage(arguments: Sequence[str]) -> dict[str, Any]:
    """The answer of ``show-stage`` to these arguments.

    Raises
    ------
    PlanRefused
        With what the trainer says is wrong.
    """
    command = [sys.executable, "-m", "trainer", "show-stage", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    try:
        answer: dict[str, Any] = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        text = done.stderr.decode(errors="replace").strip()
        raise PlanRefused(f"show-stage: found no answer, but: {text}") from None
    if done.returncode:
        raise PlanRefused(str(answer.get("error", answer)))
    return answer


def stage_spec(arguments: Sequence[str], *, mixed: bool = False) -> PlanSpec:
    """The plan that a stage has without a mixture, as the trainer itself draws from a corpus.

    Parameters
    ----------
    arguments : of ``show-stage``: the stage, ``--corpus RUN``, and ``--model`` and others maybe
    mixed : a mixture is to draw in the stage's place

    Raises
    ------
    PlanRefused
        With what the trainer says is wrong; or if the stage says itself what it draws, and a
        mixture is to.
    """
    stage = show_stage(arguments)
    if mixed and stage["draws"]:
        raise PlanRefused(
            f"stage {stage['name']}: found draws, which name its sources; expected a stage without "
            "them, or no mixture"
        )
    return PlanSpec.model_validate(stage["spec"])


def everything(common: Mapping[str, Any]) -> PlanSpec:
    """A plan that draws documents of every length alike; ``common`` are its other fields."""
    return PlanSpec.model_validate(
        {**common, "components": (Component(name=EVERYTHING, weight=1),)}
    )
