"""The page in a real browser: nothing of a document runs, all that should be shown is."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from dataflow.report import load_inputs, local_opener, write_report
from tests.dataflow.report_fixture import write_run
from tests.dataflow.test_report_markup import Reader

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--window-size=1280,900",
    "--virtual-time-budget=3000",
)
DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        message = "no Chromium here; on Debian: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report, and beside it the same page with everything unfolded."""
    run = tmp_path_factory.mktemp("run")
    write_run(run, per_source=45)
    html = write_report(load_inputs(local_opener(run)))
    (run / "report.html").write_text(html, "utf-8")
    (run / "open.html").write_text(html.replace("<details", "<details open"), "utf-8")
    return run


def browse(chromium: str, page: Path, profile: Path, *arguments: str) -> tuple[str, str]:
    """What the browser prints, and what it complains of."""
    done = subprocess.run(
        [chromium, *FLAGS, f"--user-data-dir={profile}", *arguments, page.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
    )
    complaints = [line for line in done.stderr.decode("utf-8", "replace").splitlines()
                  if "CONSOLE" in line]  # fmt: skip
    return done.stdout.decode("utf-8", "replace"), "\n".join(complaints)


@pytest.fixture(scope="module")
def unfolded(chromium: str, report: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page as it stands after its script unfolded everything."""
    profile = tmp_path_factory.mktemp("profile")
    dom, complaints = browse(chromium, report / "open.html", profile, "--dump-dom")
    assert complaints == ""
    return dom


def test_hostile_documents_stay_text(unfolded: str) -> None:
    dom = unfolded
    reader = Reader(dom)
    assert "<title>quickstart · corpus report</title>" in dom
    assert "owned" in reader.text, "the hostile document is among those shown"
    assert reader.tags.count("script") == 2
    assert "img" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]


def test_samples_and_differences_unfold(unfolded: str) -> None:
    reader = Reader(unfolded)
    assert reader.tags.count("mark") > 50
    assert reader.tags.count("del") > 3
    assert reader.tags.count("ins") > 3
    assert "Just dropped: nearest to the threshold" in reader.text
    assert "words the same" in reader.text


def test_the_folded_page_has_its_charts_and_no_complaints(
    chromium: str, report: Path, tmp_path: Path
) -> None:
    dom, complaints = browse(chromium, report / "report.html", tmp_path, "--dump-dom")
    assert complaints == ""
    reader = Reader(dom)
    assert reader.tags.count("svg") > 40
    assert "Theme: system" in reader.text, "the script ran"


@pytest.mark.parametrize(("flag", "bright"), [(LIGHT, True), (DARK, False)])
def test_both_themes_are_drawn(
    chromium: str, report: Path, tmp_path: Path, flag: str, bright: bool
) -> None:
    picture = tmp_path / "page.png"
    browse(chromium, report / "report.html", tmp_path / "profile", flag, f"--screenshot={picture}")
    corner = first_pixel(picture.read_bytes())
    assert (sum(corner) > 3 * 200) == bright
    assert (sum(corner) < 3 * 60) != bright


def first_pixel(png: bytes) -> tuple[int, int, int]:
    """Red, green and blue of a PNG's first pixel, whose filter has nothing to add."""
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert (depth, width > 500, height > 500) == (8, True, True)
    assert kind in (2, 6)
    data = b"".join(m[0] for m in _chunks(png))
    row = zlib.decompressobj().decompress(data, 8)
    return row[1], row[2], row[3]


def _chunks(png: bytes) -> list[tuple[bytes]]:
    found, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if re.fullmatch(b"IDAT", png[at + 4 : at + 8]):
            found.append((png[at + 8 : at + 8 + length],))
        at += 12 + length
    return found
