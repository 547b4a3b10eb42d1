"""Settings that are refused, waits, and the line about progress."""

from __future__ import annotations

import io
from typing import Any

import pytest

from quality.endpoint import meter
from quality.endpoint.ask import Tally
from quality.endpoint.meter import Meter, progress_line
from quality.endpoint.settings import Cost, Endpoint, Model

URL = "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (Endpoint, {"url": "localhost:8000"}, "localhost:8000"),
        (Endpoint, {"url": "ftp://host/v1"}, "expected a URL"),
        (Endpoint, {"url": URL, "concurrency": 0}, "concurrency: found 0"),
        (Endpoint, {"url": URL, "timeout": 0}, "timeout"),
        (Endpoint, {"url": URL, "requests_per_minute": -1}, "requests_per_minute"),
        (Endpoint, {"url": URL, "backoff": float("nan")}, "backoff"),
        (Model, {"name": " "}, "model"),
        (Model, {"name": "m", "temperature": 3}, "temperature"),
        (Model, {"name": "m", "answer_tokens": 0}, "answer_tokens"),
        (Model, {"name": "m", "structured": "yaml"}, "yaml"),
        (Cost, {"money": 5}, "no price"),
        (Cost, {"tokens": -1}, "tokens"),
    ],
)
def test_a_wrong_setting_is_named(kind: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind(**settings)


def test_waits_double_up_to_the_longest() -> None:
    endpoint = Endpoint(URL, backoff=0.5, longest_backoff=3)
    assert [endpoint.wait(retry) for retry in (1, 2, 3, 4, 5, 5000)] == [0.5, 1, 2, 3, 3, 3]
    assert Endpoint(URL + "/").address() == URL + "/chat/completions"


def test_progress_tells_the_time_left_of_what_is_asked() -> None:
    tally = Tally(60, 20, 40, 1, 0, 2, 0, 0, 1.5)
    line = progress_line(tally, 100, 10.0)
    assert line == "60 of 100, 20 asked, 1 failed, 2 retries, cost 1.50, at most 20 s left"
    nothing = Tally(0, 0, 0, 0, 0, 0, 0, 0, 0.0)
    assert progress_line(nothing, 100, 0.0) == "0 of 100, 0 asked, 0 failed, at most ? left"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_meter_draws_on_a_terminal_and_writes_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meter, "LINE_EVERY", 0.0)
    tally = Tally(60, 20, 40, 1, 0, 2, 0, 0, 0.0)
    shown = {}
    for stream in (io.StringIO(), Terminal()):
        with Meter(100, stream) as show:
            show(tally)
        shown[stream.isatty()] = stream.getvalue()
    assert shown[False].startswith("60 of 100, 20 asked")
    assert shown[False].count("\n") == 1
    assert "60/100" in shown[True]
