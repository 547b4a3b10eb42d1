"""``ratios.csv`` and ``metrics.csv``: there and back, and what is wrong with a file."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mixtures.studies.analysis.reading import read_study
from mixtures.studies.analysis.scores import collect_metrics
from mixtures.studies.csv_exchange import METRICS, RATIOS, read_csv, write_csv
from mixtures.studies.errors import StudyError
from tests.mixtures import invented_studies as invented


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = invented.study(invented.NOISE_ARMS)
    return invented.write(tmp_path, content, invented.results(content, invented.NOISE_EFFECTS))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_ratios_are_shares_of_the_tokens_drawn(folder: Path) -> None:
    write_csv(read_study(folder), folder)
    ratios = rows(folder / RATIOS)
    assert len(ratios) == 24
    assert list(ratios[0]) == ["run", "name", "prose", "code", "shuffled"]
    for row in ratios:
        assert sum(float(row[c]) for c in ("prose", "code", "shuffled")) == pytest.approx(1)
        expected = {"noise10": 0.1, "noise30": 0.3}.get(row["name"], 0)
        assert float(row["shuffled"]) == pytest.approx(expected, abs=1e-5)
    assert [r["run"] for r in rows(folder / METRICS)] == [r["run"] for r in ratios]


def test_read_back_they_are_the_same_scores(folder: Path, tmp_path: Path) -> None:
    data = read_study(folder)
    write_csv(data, folder)
    back = read_csv(folder, baseline="clean")
    assert list(back.arms) == list(data.arms)
    assert [(run.arm, run.seed) for run in back.runs] == [(run.arm, run.seed) for run in data.runs]
    before, after = ({m.name: m for m in collect_metrics(d)[0]} for d in (data, back))
    assert before.keys() == after.keys()
    for name, metric in before.items():
        assert after[name].better == metric.better
        for arm, scores in metric.arms.items():
            assert after[name].arms[arm].means == pytest.approx(scores.means, abs=0, rel=1e-15)


def test_only_finished_runs_have_rows(tmp_path: Path) -> None:
    content = invented.study(invented.NOISE_ARMS)
    lines = invented.lose(
        invented.results(content, invented.NOISE_EFFECTS), "noise10", [2], "diverged", "NaN"
    )
    folder = invented.write(tmp_path, content, lines)
    write_csv(read_study(folder), folder)
    names = [row["run"] for row in rows(folder / METRICS)]
    assert len(names) == 23
    assert "noise10-seed2" not in names
    assert names == [row["run"] for row in rows(folder / RATIOS)]


def test_a_table_of_mixtures_without_names_groups_equal_shares(tmp_path: Path) -> None:
    (tmp_path / RATIOS).write_text("index,web,code\n1,0.5,0.5\n2,0.5,0.5\n3,0.2,0.8\n4,0.2,0.8\n")
    (tmp_path / METRICS).write_text("index,metric/web_val_loss\n1,3.1\n2,3.2\n3,3.3\n4,3.4\n")
    data = read_csv(tmp_path, baseline="2")
    assert {arm: arm_.seeds for arm, arm_ in data.arms.items()} == {"1": (0, 1), "3": (0, 1)}
    assert data.baseline == "1"
    assert data.study["unpaired"]
    [metric], _ = collect_metrics(data)
    assert (metric.name, metric.better) == ("metric/web_val_loss", "lower")
    assert metric.arms["3"].means.tolist() == [3.3, 3.4]


GOOD = {
    RATIOS: "run,name,web,code\na,x,0.5,0.5\nb,y,0.25,0.75\n",
    METRICS: "run,name,bpb\na,x,1.0\nb,y,1.1\n",
}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (RATIOS, None, "ratios.csv: found no such file"),
        (RATIOS, "web,code\n1,0\n", "ratios.csv:1: column 1: found 'web', expected run or run_id"),
        (RATIOS, "run,web,web\na,1,0\n", "ratios.csv:1: column 3: found 'web', expected each"),
        (RATIOS, "run,name,web\na,x,.5\nb,y,1\n", "ratios.csv:2: found shares that sum to 0.5000"),
        (RATIOS, "run,name,web,code\na,x,1.5,-.5\nb,y,1,0\n", "ratios.csv:2: code: found -0.5"),
        (RATIOS, "run,name,web\na,x,1\na,x,1\n", "ratios.csv:3: column 1: found run 'a' again"),
        (RATIOS, "run,name,web\na,x\n", "ratios.csv:2: found 2 columns, expected 3 as in line 1"),
        (RATIOS, "run,name,web\na,x,1\n", "metrics.csv:3: column 1: found run 'b', which ratios"),
        (METRICS, "run,name,bpb\na,x,1.0\nb,z,1.1\n", "metrics.csv:3: name: found 'z', expected"),
        (METRICS, "run,name,bpb\na,x,\nb,y,1\n", "metrics.csv:2: column 3 (bpb): found '', exp"),
        (METRICS, "run,name,bpb\na,x,NaN\nb,y,1\n", "metrics.csv:2: column 3 (bpb): found 'NaN'"),
        (METRICS, "run,name\na,x\nb,y\n", "metrics.csv:1: found no column beside run"),
        (METRICS, "", "metrics.csv:1: column 1: found 'nothing'"),
        (METRICS, "run,name,bpb\n", "metrics.csv: found no runs"),
    ],
)
def test_a_bad_table_names_file_line_and_column(
    tmp_path: Path, file: str, text: str | None, message: str
) -> None:
    for name, good in GOOD.items():
        (tmp_path / name).write_text(good)
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(text)
    with pytest.raises(StudyError) as error:
        read_csv(tmp_path, baseline="x")
    assert message in str(error.value)


def test_an_unknown_baseline_and_a_metric_of_unknown_direction(tmp_path: Path) -> None:
    for name, good in GOOD.items():
        (tmp_path / name).write_text(good)
    with pytest.raises(StudyError, match=r"baseline: found 'q', expected one of the arms: x, y"):
        read_csv(tmp_path, baseline="q")
    (tmp_path / METRICS).write_text("run,name,vibes\na,x,1.0\nb,y,1.1\n")
    with pytest.raises(StudyError, match=r"better\.vibes: found nothing, expected lower or higher"):
        collect_metrics(read_csv(tmp_path, baseline="x"))
    data = read_csv(tmp_path, baseline="x", higher=["vibes"])
    assert collect_metrics(data)[0][0].better == "higher"
