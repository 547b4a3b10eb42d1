"""Study folders of invented results: test data, made by a model of runs whose effects are known.

The score of item i in run r of an arm is ``base + effect(arm) + item_i + seed_r + noise``: what the
statistics assume, so that their answers can be judged. No number here was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

ITEMS = 60
SOURCES = ("prose",)


def study(arms: Mapping[str, Mapping[str, Any]], **changes: Any) -> dict[str, Any]:
    """The content of ``study.json``."""
    return {
        "name": "invented",
        "question": "Are invented effects found as they were put in?",
        "kind": "compare",
        "baseline": "clean",
        "arms": {name: dict(arm) for name, arm in arms.items()},
        "seeds": [0, 1, 2, 3, 4, 5],
        "model": "tiny",
        "stage": "text_8k",
        "tokens": 262_144,
        "metrics": {"primary": "bits_per_byte"},
        "alpha": 0.05,
        "power": 0.8,
        **changes,
    }


NOISE_ARMS: dict[str, dict[str, Any]] = {
    "clean": {},
    "noise10": {"role": "dose"},
    "noise30": {"role": "dose"},
    "null": {"role": "null", "seeds": [10, 11, 12, 13, 14, 15]},
}
NOISE_EFFECTS = {"noise10": 0.05, "noise30": 0.15}


def results(
    content: Mapping[str, Any],
    effects: Mapping[str, float],
    *,
    sigma_seed: float = 0.01,
    sigma_pair: float = 0.01,
    tokenizers: Mapping[str, str] | None = None,
    seed: int = 7,
) -> list[dict[str, Any]]:
    """A finished line for each run: bits per byte are raised by the arm's effect, the score of
    items lowered by it."""
    rng = np.random.default_rng(seed)
    items = rng.normal(0, 0.5, ITEMS)
    shared: dict[int, float] = {}
    rows = []
    for name, arm in content["arms"].items():
        for run in arm.get("seeds", content["seeds"]):
            common = shared.setdefault(run, float(rng.normal(0, sigma_seed)))
            own = common + float(rng.normal(0, sigma_pair))
            bits = 2.4 + effects.get(name, 0.0) + own
            scores = -1.3 - effects.get(name, 0.0) - own + items + rng.normal(0, 0.05, ITEMS)
            rows.append(
                {
                    "arm": name,
                    "seed": run,
                    "key": f"{name}-{run}",
                    "state": "finished",
                    "why": "",
                    "attempts": 1,
                    "tokens": int(content["tokens"]),
                    "seconds": 40.0 + run,
                    "final_loss": 5.0 + effects.get(name, 0.0) + own,
                    "curve": curve(5.0 + effects.get(name, 0.0) + own, int(content["tokens"])),
                    "metrics": {
                        "bits_per_byte": {
                            "all": bits,
                            **{s: bits + i / 10 for i, s in enumerate(SOURCES)},
                        },
                        "items/generated": {
                            "log_acc_norm2": float(scores.mean()),
                            "acc": 0.4 - effects.get(name, 0.0) / 4 - own / 4,
                            "acc_norm": 0.42 - effects.get(name, 0.0) / 4 - own / 4,
                        },
                    },
                    "samples": {"items/generated": scores.tolist()},
                    "tokenizer": (tokenizers or {}).get(name, "7bd4"),
                    "corpus": "739a",
                }
            )
    return rows


def curve(final: float, tokens: int) -> list[list[float]]:
    """A falling loss."""
    steps = np.linspace(0, 1, 40)
    losses = final + 5.4 * np.exp(-6 * steps) + 0.02 * np.sin(37 * steps + final)
    return [[float(tokens * s), float(loss)] for s, loss in zip(steps, losses, strict=True)]


def lose(
    rows: Sequence[dict[str, Any]], arm: str, seeds: Sequence[int], state: str, why: str
) -> list[dict[str, Any]]:
    """The rows with some runs of an arm lost."""
    return [
        {**row, "state": state, "why": why, "metrics": {}, "samples": {}, "final_loss": None,
         "attempts": 3, "curve": row["curve"][:12]}
        if row["arm"] == arm and row["seed"] in seeds
        else row
        for row in rows
    ]  # fmt: skip


def write(folder: Path, content: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Path:
    """The folder, with a plan's head of each finished run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_bytes(orjson.dumps(content))
    (folder / "results.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    for row in rows:
        if row["state"] == "finished":
            plan = folder / "runs" / str(row["key"]) / "train/plans/plan-0/plan.json"
            plan.parent.mkdir(parents=True, exist_ok=True)
            plan.write_bytes(orjson.dumps(plan_head(str(row["arm"]), int(content["tokens"]))))
    return folder


def plan_head(arm: str, tokens: int) -> dict[str, Any]:
    """What the analysis reads of a plan: components with their tokens."""
    noise = {"noise10": 0.1, "noise30": 0.3}.get(arm, 0.0)
    parts = {"prose": 0.7 - noise, "code": 0.3, **({"shuffled": noise} if noise else {})}
    return {
        "spec": {"components": [{"name": name, "epochs": 4} for name in parts]},
        "components": [
            {"name": name, "documents": 900, "tokens": 800_000, "drawn": round(tokens * share)}
            for name, share in parts.items()
        ],
    }


def repetition(
    losses: Mapping[str, Mapping[int, float]], seeds: Sequence[int] = (0, 1, 2, 3), seed: int = 3
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A study of repetition and its results: {tier: {epochs: mean loss}}, seeds differ by .004."""
    arms = {
        f"{tier}-x{epochs}": {"repetition": {"tier": tier, "epochs": epochs}}
        for tier, by in losses.items()
        for epochs in by
    }
    content = study(arms, kind="repetition", seeds=list(seeds), baseline=None)
    effects = {f"{t}-x{e}": loss - 2.4 for t, by in losses.items() for e, loss in by.items()}
    rows = results(content, effects, sigma_seed=0.004, sigma_pair=0.003, seed=seed)
    return content, rows
