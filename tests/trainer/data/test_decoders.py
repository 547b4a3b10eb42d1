"""Images decoded by threads and by processes: the same tiles, words, and nothing lost."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.decoders import Fetch, ProcessDecoders, ThreadDecoders, parts_of
from trainer.data.decoding import Ask
from vl_data.decode import decode
from vl_data.pixels import tile_bytes
from vl_data.tiling import plan, tiling_of

TILING = tiling_of("tiny56")
SIZES = ((112, 112), (60, 200), (333, 90), (1, 1), (56, 56))


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Ask]]:
    """A file with images end to end, and what asks for each."""
    path = tmp_path_factory.mktemp("shard") / "content.tar"
    asks, found = [], b""
    for number, (width, height) in enumerate(SIZES):
        rgb = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(rgb).save(stream, "png")
        data = stream.getvalue()
        asks.append(Ask(width, height, len(data), len(found), str(path), 0))
        found += data
    path.write_bytes(found)
    return path, asks


def _fetch_from(path: Path) -> Fetch:
    def fetch(ask: Ask) -> bytes | str:
        with path.open("rb") as stream:
            stream.seek(ask.offset)
            return stream.read(ask.size)

    return fetch


@pytest.mark.parametrize("local", [True, False], ids=["local", "fetched"])
def test_tiles_are_those_of_the_plain_way(shard: tuple[Path, list[Ask]], local: bool) -> None:
    path, asks = shard
    expected = []
    for ask in asks:
        data = path.read_bytes()[ask.offset : ask.offset + ask.size]
        expected.append(tile_bytes(decode(data), plan(ask.width, ask.height, TILING), TILING))
    asked = asks if local else [ask._replace(path="") for ask in asks]
    for made in (ThreadDecoders, ProcessDecoders):
        with made(TILING, _fetch_from(path), 2) as decoders:
            futures = [decoders.submit(asked), decoders.submit(asked[::-1])]
            for answers, wanted in zip(
                [f.result() for f in futures], [expected, expected[::-1]], strict=True
            ):
                for tiles, right in zip(answers, wanted, strict=True):
                    assert np.array_equal(tiles, right)


def test_what_is_wrong_is_told_in_the_same_words(shard: tuple[Path, list[Ask]]) -> None:
    path, asks = shard
    first = asks[0]
    wrong = [
        first._replace(width=113),
        first._replace(size=first.size // 2),
        first._replace(offset=first.offset + 3),
    ]
    found = []
    for made in (ThreadDecoders, ProcessDecoders):
        with made(TILING, _fetch_from(path), 1) as decoders:
            found.append(decoders.submit([*wrong, first]).result())
    for mine, other in zip(*(answers[:3] for answers in found), strict=True):
        assert isinstance(mine, str)
        assert mine == other
    assert "found 112 x 112 pixels, expected 113 x 112" in str(found[0][0])
    assert all(isinstance(answers[3], np.ndarray) for answers in found)
    with ProcessDecoders(TILING, _fetch_from(path), 1) as decoders:
        gone, short = decoders.submit(
            [
                first._replace(path=str(path.with_name("gone"))),
                asks[-1]._replace(size=asks[-1].size + 1),
            ]
        ).result()
    assert " cannot be read (" in str(gone)
    assert f"found {asks[-1].size} bytes" in str(short)


def test_a_process_that_is_killed_is_replaced(shard: tuple[Path, list[Ask]]) -> None:
    path, asks = shard
    with ProcessDecoders(TILING, _fetch_from(path), 1) as decoders:
        before = decoders.submit(asks).result()
        (child,) = _children(os.getpid())
        os.kill(child, signal.SIGKILL)
        after = decoders.submit(asks).result()
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        (other,) = _children(os.getpid())
        assert other != child
    assert not _children(os.getpid())


def test_an_image_that_kills_is_a_damaged_one(
    shard: tuple[Path, list[Ask]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A decoder with a fault of its own: a process that ends where an image is 60 pixels wide."""
    package = tmp_path / "sitecustomize.py"
    package.write_text(
        textwrap.dedent(
            """
            import os, sys
            if sys.argv[:1] == ["-m"]:
                import vl_data.decode as d
                plain = d.decode
                def decode(data, *more):
                    rgb = plain(data, *more)
                    print("what a library says", flush=True)
                    if rgb.shape[1] == 60:
                        os.kill(os.getpid(), 9)
                    return rgb
                d.decode = decode
            """
        )
    )
    root = str(Path(__file__).resolve().parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), root]))
    path, asks = shard
    with ProcessDecoders(TILING, _fetch_from(path), 1) as decoders:
        found = decoders.submit(asks).result()
    assert found[1] == ": the process that decodes it ended with -9"
    assert [isinstance(one, np.ndarray) for one in found] == [True, False, True, True, True]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_a_trainer_that_is_killed(
    shard: tuple[Path, list[Ask]], how: signal.Signals
) -> None:
    _, asks = shard
    program = textwrap.dedent(
        f"""
        import signal, time
        from trainer.data.decoders import ProcessDecoders
        from trainer.data.decoding import Ask
        from vl_data.tiling import tiling_of
        decoders = ProcessDecoders(tiling_of("tiny56"), None, 2)
        asks = [Ask(*one) for one in {[tuple(ask) for ask in asks]!r}]
        for future in [decoders.submit(asks) for _ in range(8)]:
            future.result()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    children = _children(running.pid)
    assert children
    running.send_signal(how)
    assert running.wait(10) != 0
    until = time.monotonic() + 10
    while any(map(_runs, children)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(_runs, children))


def test_a_decoding_process_needs_no_torch() -> None:
    program = "import sys, trainer.data.decoding; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"


def test_large_images_are_asked_for_one_by_one() -> None:
    small, large = Ask(10, 10, 1, 0, "", 0), Ask(4000, 3000, 1, 0, "", 0)
    assert parts_of([small] * 40) == [range(16), range(16, 32), range(32, 40)]
    assert parts_of([large, large, small]) == [range(1), range(1, 2), range(2, 3)]
    assert parts_of([]) == []


def _children(pid: int) -> list[int]:
    """Processes of `trainer.data.decoding` that a process has started and that run."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(") ", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid and b"trainer.data.decoding" in words:
            found.append(int(folder.name))
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False
