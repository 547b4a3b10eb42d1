"""What a machine of a cluster does for a launcher on another one."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.trainer.launch.fake_rank import FAKE
from trainer.launch.agent import Agent, News, Start
from trainer.launch.environment import Place
from trainer.launch.errors import LaunchFailed
from trainer.launch.ray_cluster import run_on_ray

ROOT = Path(__file__).resolve().parents[3]


def all_news(agent: Agent) -> News:
    """Everything until the end."""
    out = err = b""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        news = agent.news(1)
        out, err = out + news.out, err + news.err
        if news.ending is not None:
            return News(out, err, news.ending)
    raise TimeoutError


@pytest.mark.parametrize("screen", [None, (100, 30)])
def test_the_first_rank_writes_to_a_terminal_where_the_caller_has_one(
    screen: tuple[int, int] | None, tmp_path: Path
) -> None:
    agent = Agent()
    arguments = ["tell", str(tmp_path)]
    port = agent.listen("127.0.0.1")
    agent.start(
        Start(arguments, Place(0, 2, 0, 1), "10.0.0.1", port, str(ROOT), {"OMP_NUM_THREADS": "3"},
              screen=screen, devices="5,6", command=FAKE)
    )  # fmt: skip
    news = all_news(agent)
    assert news.out == b"rank 0 to output\n"
    assert news.err == f"rank 0 to errors; a terminal: {screen is not None}\n".encode()
    assert news.ending is not None
    assert (news.ending.kind, news.ending.code) == ("done", 0)
    told = (tmp_path / "0").read_text().split("\n")
    assert told == ["0", "2", "0", "1", "10.0.0.1", str(port), "3", str(port)]


def test_other_ranks_are_heard_when_they_die() -> None:
    agent = Agent()
    agent.start(Start(["tell,die"], Place(1, 2, 0, 1), "10.0.0.1", 4, str(ROOT), {}, command=FAKE))
    news = all_news(agent)
    assert (news.out, news.err) == (b"", b"")
    assert news.ending is not None
    assert (news.ending.kind, news.ending.text) == ("died", "the last words")


def test_a_folder_that_another_machine_lacks_is_seen_by_a_file(tmp_path: Path) -> None:
    agent = Agent()
    file = agent.mark("runs/x", str(tmp_path))
    assert Path(file).parent == tmp_path  # the nearest that is there
    assert agent.sees(file, 0)
    agent.unmark(file)
    assert not agent.sees(file, 0)
    assert not agent.sees(str(tmp_path / "gone" / "file"), 0)
    assert not list(tmp_path.iterdir())


def test_an_address_where_nobody_listens_is_told_at_once() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(LaunchFailed, match=f"--ray {address}: found nobody there"):
            run_on_ray(address, 2, [], "out", quiet=True)
