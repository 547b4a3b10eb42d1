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
from mixtures.spec import Component, LateMixture, PlanSpec, Transition

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


def stage_spec(arguments: Sequence[str]) -> PlanSpec:
    """The plan that a stage has without a mixture, as the trainer itself draws from a corpus.

    Parameters
    ----------
    arguments : of ``show-stage``: the stage, ``--corpus RUN``, and ``--model`` and others maybe

    Raises
    ------
    PlanRefused
        With what the trainer says is wrong.
    """
    return PlanSpec.model_validate(show_stage(arguments)["spec"])


def frame_of(stage: Mapping[str, Any], seed: int = 0, epochs: int = 4) -> PlanSpec:
    """The plan of a stage without a mixture.

    Parameters
    ----------
    stage : as `show_stage` returns it

    Raises
    ------
    PlanRefused
        If the stage says itself what it draws from.
    """
    if stage["draws"]:
        raise PlanRefused(
            f"stage {stage['name']}: found draws, which name its sources; expected a stage without "
            "them, or no mixture"
        )
    classes: dict[str, Any] | None = stage["classes"]
    common = {
        "length": stage["length"],
        "tokens": stage["sequences"] * stage["length"],
        "seed": seed,
        "l1": stage["class_length"],
        "packing": stage["packing"],
        "tiling": stage["tiling"],
    }
    if classes is None:
        return frame(common, epochs)
    components = [
        Component(name=name, length=name, weight=weight, epochs=epochs)
        for name, weight in classes["weights"].items()
    ]
    late = classes["late"]
    if late is not None:
        sources = tuple(classes["long_sources"])
        components.append(
            Component(name=classes["long_name"], weight=0, sources=sources, epochs=epochs)
        )
        # `crossed` keeps the sources of long questions out of the others; so must these.
        components[:-1] = [
            component.model_copy(update={"except_sources": sources})
            for component in components[:-1]
        ]
    transition = classes["transition"]
    return PlanSpec.model_validate(
        {
            **common,
            "components": components,
            "late": None if late is None else LateMixture.model_validate(late),
            "transition": None if transition is None else Transition.model_validate(transition),
        }
    )


def frame(common: Mapping[str, Any], epochs: int = 4) -> PlanSpec:
    """A stage that draws documents of every length alike."""
    whole = Component(name=EVERYTHING, weight=1, epochs=epochs)
    return PlanSpec.model_validate({**common, "components": (whole,)})
