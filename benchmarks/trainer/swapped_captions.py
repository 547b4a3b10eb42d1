"""Whether a model's gain tells true captions from swapped ones, on made pictures of unseen layouts.

Half of the pictures get the description of another one. What is told is the area under the ROC
curve: how often a true caption has more than a swapped one, equal ones counted half.
Informativeness looks at captions alone, and is to be at 50 %: swapped captions are true captions of
others.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from benchmarks.harness import ROOT, Options, Report, seconds
from benchmarks.trainer.options import TrainerOptions
from dataflow.run import Run
from dataflow.store import Store
from vl_data.reward.pairs import pairs_of
from vl_data.reward.scores_file import read_scores

MODEL = ROOT / "runs" / "train" / "tiny-vl-quickstart" / "vl_stage1"
"""What ``make train STAGE=vl_stage1 CHAIN=1`` leaves."""
PIXELS = 56
FAMILIES = ("colours", "counting")
OTHERS = (1, 4)
DRAWS = 2000

Numbers = npt.NDArray[np.float64]


def run(report: Report, options: Options) -> None:
    """Make pictures, swap half of their descriptions, measure and score them."""
    asked = options if isinstance(options, TrainerOptions) else TrainerOptions()
    model = Path(asked.model or MODEL)
    work = asked.scratch / "swapped_captions"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    count = 40 if asked.quick else 800
    _do(
        "vl_data", "synthesise", "--out", str(work / "made"), "--count", str(count),
        "--seed", str(asked.seed + 4711), "--size", str(PIXELS), "--families", *FAMILIES,
        "--split", "heldout",
    )  # fmt: skip
    swapped = _swap(work / "made" / "samples.jsonl", asked.seed)
    recipe = work / "pairs.yaml"
    recipe.write_text(yaml.safe_dump(_recipe(work, model), sort_keys=False))
    _do("dataflow", "build", str(recipe), "--out", str(work / "run"), "--workers", "0")
    corpus = Run.load(Store(str(work / "run")))
    (partition,) = corpus.partitions
    assert partition.image_reward is not None
    documents = corpus.table(partition.read, "documents")
    refs = [images[0]["ref"] for images in documents["images"].to_pylist()]
    true = np.array([ref not in swapped for ref in refs])
    report.add("pairs", len(true), "pairs")
    signals = corpus.table(partition.image_reward, "signals")
    informative = signals["image_reward.informativeness"].to_numpy().astype(np.float64)
    _tell(report, "informativeness", informative, true)
    ids = pairs_of(documents).ids()
    for others in OTHERS[:1] if asked.quick else OTHERS:
        out = work / f"scores-{others}.parquet"
        words = ["image-reward", str(model), "--corpus", str(work / "run"), "--out", str(out)]
        words += ["--others", str(others), "--device", asked.device]
        taken = seconds(lambda words=words: _do("trainer", *words))  # type: ignore[misc]
        report.add(f"gain over {others}: seconds, the start among them", taken, "s")
        scores = read_scores(out)
        place, _ = scores.places(ids)
        _tell(report, f"gain over {others}", scores.gain[place].astype(np.float64), true)
    _tell(report, "gain over none", scores.gain_unseen[place].astype(np.float64), true)


def area(values: Numbers, true: npt.NDArray[np.bool_]) -> float:
    """Under the ROC curve: how often one of ``true`` is above one that is not; ties are halves."""
    above = values[true][:, None]
    below = values[~true][None, :]
    return float(((above > below) + 0.5 * (above == below)).mean())


def _tell(report: Report, name: str, values: Numbers, true: npt.NDArray[np.bool_]) -> None:
    draw = np.random.default_rng(0)
    rows = (np.flatnonzero(true), np.flatnonzero(~true))
    drawn = []
    for _ in range(DRAWS // 20 if len(true) < 100 else DRAWS):
        picked = np.concatenate([draw.choice(part, len(part)) for part in rows])
        drawn.append(area(values[picked], true[picked]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    report.add(f"{name}: area", 100 * area(values, true), "%")
    report.add(f"{name}: area, low end of 95 %", 100 * low, "%")
    report.add(f"{name}: area, high end", 100 * high, "%")


def _swap(path: Path, seed: int) -> set[str]:
    """Give half of the samples the description of the next such one that has another; the images
    of those."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    order = np.random.default_rng(seed).permutation(len(rows))[: len(rows) // 2].tolist()
    given = [rows[number]["description"] for number in order]
    swapped = set()
    for place, number in enumerate(order):
        turned = given[place + 1 :] + given[:place]
        rows[number]["description"] = next(text for text in turned if text != given[place])
        swapped.add(rows[number]["image"])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return swapped


def _recipe(work: Path, model: Path) -> dict[str, Any]:
    return {
        "name": "swapped-captions",
        "sources": [
            {
                "name": "pairs",
                "paths": str(work / "made" / "samples.jsonl"),
                "format": "image-text",
                "fields": {"caption": "description"},
                "images": {"min_side": PIXELS},
            }
        ],
        "dedup": {"exact": False, "near": {"enabled": False}},
        "tokenizer": {"use": str((model / "tokenizer").resolve())},
        "image_reward": {},
        "build": {"partition_bytes": "1GiB"},
    }


def _do(module: str, *words: str) -> None:
    called: Sequence[str] = [sys.executable, "-m", module, *words]
    done = subprocess.run(
        called, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: status {done.returncode}; {done.stderr[-2000:]}")
