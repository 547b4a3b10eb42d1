"""A study that builds its corpus, and writes it again in another tokenizer's tokens."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from dataflow.recipe import RecipeError
from dataflow.run import Run
from dataflow.store import Store
from mixtures.command import main
from tests.dataflow.corpora import write_corpus, write_recipe
from tests.mixtures.faked_studies import arm_that, run_faked, starts, study_file

ROOT = Path(__file__).resolve().parents[2]
OTHER = str(ROOT / "recipes" / "tokenizers" / "quickstart-32k")


def written(folder: Path) -> dict[Path, int]:
    """When each table and shard of a run was written; their list is written anew each time."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.suffix in (".tar", ".parquet") and path.name != "manifest.parquet"
    }


@pytest.mark.long
def test_a_corpus_is_built_once_and_retokenized_for_an_arm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path, documents=60)
    recipe = {"recipe": str(write_recipe(tmp_path, partition_bytes="1MiB"))}
    monkeypatch.chdir(tmp_path)  # corpora are built into runs/
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    arms = {
        "clean": arm_that("all", None),
        "other": {**arm_that("all", None), "corpus": {**recipe, "tokenizer": OTHER}},
    }
    path, out = study_file(tmp_path, recipe, arms=arms), tmp_path / "out"
    found = run_faked(path, out)
    assert found.complete
    assert starts(out) == 8, "an arm with another tokenizer has runs of its own"
    own, other = Path("runs/small"), Path(found.study["arms"]["other"]["corpus"])
    assert found.study["arms"]["clean"]["corpus"] == str(own)
    assert other.parent == out / "corpora"
    runs = [Run.load(Store(str(folder))) for folder in (own, other)]
    hashes = [run.tokenizer.stats["hash"] for run in runs]
    assert hashes == [found.study["arms"][name]["tokenizer"] for name in ("clean", "other")]
    assert hashes[0] != hashes[1]
    assert {line["tokenizer"] for line in found.results} == set(hashes)
    # Each is evaluated on the held-out text in its own tokens.
    for line in found.results:
        argv = (out / "runs" / line["key"] / "train" / "evaluated").read_text().split()
        assert argv[argv.index("--corpus") + 1] == str(own if line["arm"] == "clean" else other)

    before = {**written(own), **written(other)}
    assert run_faked(path, out).results == found.results
    assert {**written(own), **written(other)} == before
    assert starts(out) == 8

    assert main(["ablate", str(path), "--report-only", "--out", str(out), "--json"]) == 0
    metrics = {
        metric["name"]: metric for metric in orjson.loads(capsys.readouterr().out)["metrics"]
    }
    [compared] = metrics["bits_per_byte"]["comparisons"]
    assert (compared["arm"], compared["effect"]) == ("other", 0)

    metrics = {"loss_per_token": True}
    per_token = study_file(tmp_path, recipe, "t", arms=arms, metrics=metrics)
    with pytest.raises(RecipeError, match="a token is not the same amount of text"):
        run_faked(per_token, tmp_path / "t")
    assert starts(tmp_path / "t") == 0
