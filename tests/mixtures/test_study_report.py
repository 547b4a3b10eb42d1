"""The page of a study: what it shows, what it escapes, and that it renders."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mixtures.studies.analysis.reading import read_study
from mixtures.studies.command import judge
from mixtures.studies.report.axis import Axis, mark, spanning
from tests.dataflow.test_report_browser import DARK, FLAGS, LIGHT, first_pixel
from tests.dataflow.test_report_markup import Reader
from tests.mixtures import invented_studies as invented


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = invented.study(
        {**invented.NOISE_ARMS, "<b>bold</b>": {}}, question='Is 1 < 2 & "quoted"?'
    )
    effects = {**invented.NOISE_EFFECTS, "<b>bold</b>": -0.04}
    rows = invented.lose(
        invented.results(content, effects), "noise10", [2], "diverged", "<i>NaN</i> at step 9"
    )
    folder = invented.write(tmp_path_factory.mktemp("study"), content, rows)
    judge(read_study(folder), folder)
    return folder / "report.html"


def test_the_decision_and_what_is_missing_come_first(page: Path) -> None:
    text = Reader(page.read_text()).text
    missing, decision = text.index("1 run of 30 is diverged"), text.index("By bits_per_byte, ")
    assert missing < decision < text.index("What differs")


def test_all_sections_and_charts_are_there(page: Path) -> None:
    html = page.read_text()
    for anchor in ("effects", "checks", "metrics", "power", "training", "mixture", "costs"):
        assert f'<section id="{anchor}"' in html or f'id="{anchor}"' in html
        assert f'href="#{anchor}"' in html
    for kind in ("forest", "curves", "lines"):
        assert f'class="chart {kind}"' in html
    assert html.count('class="band ') == 5, "an arm each"
    assert "line lost" in html, "the diverged run"
    assert "shuffled" in html
    assert "nan" not in html.replace("<i>NaN", "").replace("&lt;i&gt;NaN", "").lower().split()


def test_names_and_errors_of_people_stay_text(page: Path) -> None:
    reader = Reader(page.read_text())
    assert "<b>bold</b>" in reader.text
    assert "<i>NaN</i> at step 9" in reader.text
    assert "i" not in reader.tags
    assert 'Is 1 < 2 & "quoted"?' in reader.text


def test_nothing_is_asked_of_a_network(page: Path) -> None:
    html = page.read_text()
    assert "default-src 'none'" in html
    for word in ("http://", "https://", "url(http", "@import", "src="):
        assert word not in html.replace("script-src", "").replace("style-src", "").replace(
            "default-src", ""
        )


def test_a_study_of_repetition_shows_its_curve(tmp_path: Path) -> None:
    epochs = (1, 2, 4, 8)
    tiers = {
        "low": {e: 2.4 + 0.02 * e for e in epochs},
        "high": {e: 2.2 + 0.003 * e for e in epochs},
    }
    folder = invented.write(tmp_path, *invented.repetition(tiers))
    judge(read_study(folder), folder)
    html = (folder / "report.html").read_text()
    assert 'id="repetition"' in html
    assert 'id="effects"' not in html
    assert html.count("high-x8, seed") == 4


@pytest.mark.browser
@pytest.mark.parametrize(("flag", "bright"), [(LIGHT, True), (DARK, False)])
def test_a_browser_draws_it_without_complaint(
    page: Path, tmp_path: Path, flag: str, bright: bool
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [chromium, *FLAGS, flag, f"--user-data-dir={tmp_path / 'profile'}",
         f"--screenshot={picture}", page.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr.decode("utf-8", "replace")
    assert (sum(first_pixel(picture.read_bytes())) > 3 * 200) == bright


def test_axes() -> None:
    axis = Axis(0, 10, 100, 200)
    assert [axis(v) for v in (0, 5, 10, 20)] == [100, 150, 200, 200]
    assert axis.ticks() == [0, 2, 4, 6, 8, 10]
    assert Axis(1, 16, 0, 4, log=True).ticks() == [1, 2, 4, 8, 16]
    assert Axis(1, 16, 0, 4, log=True)(4) == pytest.approx(2)
    flat = spanning([3.0, 3.0], 0, 1)
    assert flat.low < 3 < flat.high
    small = Axis(-0.01, 0.015, 0, 1)
    assert [mark(t, small) for t in small.ticks()] == [
        "-0.010",
        "-0.005",
        "0.000",
        "0.005",
        "0.010",
        "0.015",
    ]
