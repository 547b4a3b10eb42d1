"""Questions asked of a server that misbehaves."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from quality.endpoint.ask import ask
from quality.endpoint.failures import REASONS, EndpointError
from quality.endpoint.settings import Cost, Endpoint, Model
from quality.endpoint.store import AnswerStore
from tests.quality.endpoint.asking import MODEL, echo, question, run, words
from tests.quality.endpoint.misbehaving import (
    Act,
    Handler,
    completion,
    cut,
    says,
    serving,
    slow,
    status,
)

ONE = Path("answers.jsonl")


def test_answers_come_in_the_order_of_the_questions(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(20)]
    with serving(echo()) as server:
        for i, text in enumerate(texts):
            server.acts[text] = [slow(0.03 if i % 4 == 0 else 0, echo())]
        outcomes, tally = run(server, tmp_path, texts)
    assert words(outcomes) == texts
    assert [o.id for o in outcomes] == texts
    assert (tally.asked, tally.failed, tally.retries) == (20, 0, 0)
    assert (tally.prompt_tokens, tally.answer_tokens) == (200, 100)


def test_the_request_is_a_chat_completion_with_a_schema(tmp_path: Path) -> None:
    with serving(echo()) as server:
        run(server, tmp_path, ["a"], api_key="secret")
        run(server, tmp_path / "2", ["a"], model=Model("toy", structured="object"))
        run(server, tmp_path / "3", ["a"], model=Model("toy", structured="none"))
    first, second, third = server.requests
    assert server.headers[0]["path"] == "/v1/chat/completions"
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.headers[1]
    assert first["model"] == "toy"
    assert first["temperature"] == 0
    assert first["max_tokens"] == 50
    assert first["messages"] == [
        {"role": "system", "content": "Echo."},
        {"role": "user", "content": "a"},
    ]
    schema = first["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["required"] == ["word"]
    assert schema["schema"]["additionalProperties"] is False
    assert second["response_format"] == {"type": "json_object"}
    assert "response_format" not in third
    assert b"secret" not in (tmp_path / ONE).read_bytes()


def test_no_more_than_the_concurrency_at_a_time(tmp_path: Path) -> None:
    with serving(slow(0.02, echo())) as server:
        run(server, tmp_path, map(str, range(24)), concurrency=5)
    assert 2 <= server.most_in_flight <= 5


@pytest.mark.parametrize(
    "act",
    [status(500), status(503, b"busy", Retry_After="0"), cut, status(429), slow(0.6, echo())],
    ids=["500", "503", "cut", "429", "slow"],
)
def test_a_failed_exchange_is_tried_again(tmp_path: Path, act: Act) -> None:
    with serving(echo()) as server:
        server.acts["b"] = [act]
        outcomes, tally = run(server, tmp_path, "abc", timeout=0.4)
    assert words(outcomes) == ["a", "b", "c"]
    assert tally.retries == 1
    assert server.asked() == {"a": 1, "b": 2, "c": 1}
    assert len((tmp_path / ONE).read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (status(500), "server-fault"),
        (cut, "connection-cut"),
        (status(429), "rate-limited"),
        (slow(0.4, echo()), "too-slow"),
    ],
)
def test_what_keeps_failing_is_a_row_and_asked_in_the_next_run(
    tmp_path: Path, act: Act, reason: str
) -> None:
    with serving(echo()) as server:
        server.acts["b"] = [act] * 3
        outcomes, tally = run(server, tmp_path, "abc", timeout=0.2)
        assert words(outcomes) == ["a", reason, "c"]
        assert reason in REASONS
        assert tally.failed == 1
        again, _ = run(server, tmp_path, "abc")
    assert words(again) == ["a", "b", "c"]
    assert server.asked() == {"a": 1, "b": 4, "c": 1}


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_back_every_request(tmp_path: Path, form: str) -> None:
    value = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    with serving(slow(0.15, echo())) as server:
        server.acts["0"] = [status(429, Retry_After=value)]
        outcomes, _ = run(server, tmp_path, "012345", concurrency=2)
    assert words(outcomes) == list("012345")
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    # One request was under way beside the refused one; nothing else went before the pause ended.
    assert max(gaps) >= 0.85
    assert next(i for i, gap in enumerate(gaps) if gap >= 0.85) <= 1


def test_a_pause_beyond_patience_stops_the_run(tmp_path: Path) -> None:
    with serving(echo()) as server:
        server.acts["b"] = [status(429, Retry_After="86400")]
        with pytest.raises(EndpointError, match="pause of 86400 s"):
            run(server, tmp_path, "ab", concurrency=1)
        outcomes, tally = run(server, tmp_path, "ab")
    assert words(outcomes) == ["a", "b"]
    assert (tally.kept, tally.asked) == (1, 1)


@pytest.mark.parametrize(
    ("act", "reason", "said"),
    [
        (says("I would say: half."), "invalid-json", "I would say"),
        (says('{"word": 5}'), "schema-mismatch", "word"),
        (says('{"word": "a", "score": 9}'), "schema-mismatch", "score"),
        (says('["a"]'), "schema-mismatch", "the answer"),
        (says('{"word": "ha', finish_reason="length"), "answer-cut", "length"),
        (says(None), "invalid-response", "content"),
        (status(200, b"<html>gateway</html>"), "invalid-response", "gateway"),
        (status(200, b'{"choices": []}'), "invalid-response", "choices"),
        (status(200, b"\xff\xfe"), "invalid-response", "expected"),
    ],
)
def test_a_bad_answer_is_kept_and_asked_again(
    tmp_path: Path, act: Act, reason: str, said: str
) -> None:
    with serving(echo()) as server:
        server.acts["once"] = [act]
        server.acts["ever"] = [act] * 9
        outcomes, tally = run(server, tmp_path, ["once", "ever"], answers=3)
        assert words(outcomes) == ["once", reason]
        assert said in outcomes[1].detail
        assert server.asked() == {"once": 2, "ever": 3}
        assert tally.retries == 3
        # Settled: what was paid for is not asked for again.
        again, tally = run(server, tmp_path, ["once", "ever"], answers=3)
    assert again == outcomes
    assert (tally.asked, tally.kept, tally.failed) == (0, 2, 1)
    assert len(server.requests) == 5
    assert len((tmp_path / ONE).read_bytes().splitlines()) == 5


def test_further_answers_are_asked_with_another_seed(tmp_path: Path) -> None:
    with serving(says("prose")) as server:
        run(server, tmp_path, "a", answers=3, model=Model("toy", seed=7))
    assert [request["seed"] for request in server.requests] == [7, 8, 9]


@pytest.mark.parametrize(
    "act",
    [says(None, message={"refusal": "I cannot."}), says("x", finish_reason="content_filter")],
)
def test_a_refusal_is_final(tmp_path: Path, act: Act) -> None:
    with serving(act) as server:
        outcomes, _ = run(server, tmp_path, "a")
        assert words(outcomes) == ["refused"]
        run(server, tmp_path, "a")
    assert len(server.requests) == 1


def test_a_fenced_answer_is_read(tmp_path: Path) -> None:
    with serving(says('```json\n{"word": "fence"}\n```')) as server:
        outcomes, _ = run(server, tmp_path, "a")
    assert words(outcomes) == ["fence"]


def test_a_rejected_question_fails_alone_but_a_first_few_stop_the_run(tmp_path: Path) -> None:
    with serving(echo()) as server:
        long = [str(i) for i in range(9)]
        for text in long:
            server.acts[text] = [status(400, b"longer than the context")]
        outcomes, tally = run(server, tmp_path, ["a", *long, "b"], concurrency=1, give_up=3)
        assert words(outcomes) == ["a", *["rejected"] * 9, "b"]
        assert "longer than the context" in outcomes[1].detail
        assert tally.retries == 0
        server.usual = status(400, b"no response_format here")
        with pytest.raises(EndpointError, match="no response_format here"):
            run(server, tmp_path / "2", map(str, range(50)), give_up=3)
    assert len(server.requests) < 30


@pytest.mark.parametrize("code", [401, 402, 403, 404, 301])
def test_a_wrong_key_or_address_stops_the_run_at_once(tmp_path: Path, code: int) -> None:
    with (
        serving(status(code, Location="/v2")) as server,
        pytest.raises(EndpointError, match=rf"{server.url}.*HTTP {code}"),
    ):
        run(server, tmp_path, map(str, range(100)), concurrency=2)
    assert len(server.requests) <= 4


def test_a_server_that_is_down_stops_the_run_and_nothing_is_lost(tmp_path: Path) -> None:
    with serving(echo()) as server:
        run(server, tmp_path, "abc")
    with pytest.raises(EndpointError, match=r"unreachable.*run again"):
        run(server, tmp_path, map(str, range(100)), give_up=4, attempts=2)
    with serving(echo()) as server:
        outcomes, tally = run(server, tmp_path, "abcd")
    assert words(outcomes) == list("abcd")
    assert (tally.kept, tally.asked) == (3, 1)


def test_an_answer_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with serving(echo()) as server:
        server.acts["b"] = [status(200, b" " * 300_000)]
        outcomes, tally = run(server, tmp_path, "ab", largest_answer=100_000)
    assert words(outcomes) == ["a", "invalid-response"]
    assert tally.answer_tokens == 5 + MODEL.answer_tokens


def test_equal_questions_are_asked_once(tmp_path: Path) -> None:
    with serving(slow(0.02, echo())) as server, AnswerStore(tmp_path) as store:
        questions = [question("a", "x"), question("b", "y"), question("a", "z")]
        outcomes, tally = ask(questions, Endpoint(server.url), MODEL, store)
    assert [(o.id, o.answer.word if o.answer else None) for o in outcomes] == [
        ("x", "a"),
        ("y", "b"),
        ("z", "a"),
    ]
    assert server.asked() == {"a": 1, "b": 1}
    assert (tally.done, tally.asked, tally.kept) == (3, 2, 1)


def test_another_model_or_setting_is_another_question(tmp_path: Path) -> None:
    models = [Model("toy"), Model("other"), Model("toy", temperature=1), Model("toy", seed=1)]
    with serving(echo()) as server:
        for model in [*models, models[0]]:
            run(server, tmp_path, "a", model=model)
    assert len(server.requests) == len(models)


def _erratic(seed: int) -> Act:
    """Behaves by the question and how often it came, never by time; each takes another time."""
    seen: dict[str, int] = {}
    chance = random.Random(seed)

    def act(handler: Handler, payload: dict[str, Any]) -> None:
        text = payload["messages"][-1]["content"]
        with handler.server.lock:
            seen[text] = count = seen.get(text, 0) + 1
            wait = chance.random() * 0.01
        time.sleep(wait)
        kind = (int(text) * 7 + count) % 11
        body = completion(f'{{"word": "{text}.{payload["seed"]}"}}', (int(text) % 9 + 5, count))
        if kind == 0:
            handler.send(500, b"oops")
        elif kind == 1:
            cut(handler, payload)
        elif kind == 2:
            handler.send(200, completion("prose", (3, 4)))
        elif kind == 3:
            handler.send(200, completion('{"wrong": 1}', (3, 4)))
        else:
            handler.send(200, body)

    return act


@pytest.mark.parametrize("cap", [None, 900])
def test_outcomes_and_kept_answers_are_equal_at_any_concurrency(
    tmp_path: Path, cap: int | None
) -> None:
    found = []
    for i, concurrency in enumerate((1, 3, 16)):
        with serving(_erratic(i)) as server:
            outcomes, tally = run(
                server,
                tmp_path / str(i),
                map(str, range(60)),
                Cost(tokens=cap),
                concurrency=concurrency,
                attempts=5,
                answers=2,
            )
        lines = sorted((tmp_path / str(i) / ONE).read_bytes().splitlines())
        found.append((outcomes, tally, lines))
    assert found[0] == found[1] == found[2]
    assert (found[0][1].not_asked > 0) == (cap is not None)
    assert {"invalid-json", "schema-mismatch"} & set(words(found[0][0]))


@pytest.mark.parametrize("kind", ["tokens", "money"])
def test_a_cap_is_kept_and_a_higher_one_goes_on(tmp_path: Path, kind: str) -> None:
    def cap(tokens: int) -> Cost:
        if kind == "tokens":
            return Cost(tokens=tokens)
        return Cost(2.0, 2.0, money=tokens * 2e-6)

    texts = [f"{i:02}" for i in range(30)]
    bound = question("00").prompt_bound(0) + MODEL.answer_tokens
    with serving(echo((40, 10))) as server:
        outcomes, tally = run(server, tmp_path, texts, cap(bound + 500), answers=1)
        asked = len(server.requests)
        # The first ten cost 500 and leave room for the dearest outcome of one more.
        assert asked == 11
        assert words(outcomes) == texts[:11] + ["not-asked"] * 19
        assert tally.prompt_tokens + tally.answer_tokens == 550 <= bound + 500
        # The cap covers what the store holds: the same again asks for nothing more.
        run(server, tmp_path, texts, cap(550), answers=1)
        assert len(server.requests) == asked
        outcomes, tally = run(server, tmp_path, texts, cap(100_000), answers=1)
    assert words(outcomes) == texts
    assert server.asked() == dict.fromkeys(texts, 1)
    if kind == "money":
        assert tally.money == pytest.approx(30 * 50 * 2e-6)


def test_a_cap_counts_what_is_under_way(tmp_path: Path) -> None:
    prompt = question("0").prompt_bound(0)
    cap = Cost(tokens=3 * (prompt + MODEL.answer_tokens))
    with serving(slow(0.1, echo((prompt, MODEL.answer_tokens)))) as server:
        outcomes, tally = run(server, tmp_path, "0123456789", cap, concurrency=10, answers=1)
    assert words(outcomes) == ["0", "1", "2", *["not-asked"] * 7]
    assert tally.prompt_tokens + tally.answer_tokens == cap.tokens


def test_a_server_that_counts_nothing_is_taken_at_its_dearest(tmp_path: Path) -> None:
    with serving(echo(None)) as server:
        _, tally = run(server, tmp_path, "a")
    assert tally.prompt_tokens == question("a").prompt_bound(0)
    assert tally.answer_tokens == MODEL.answer_tokens
    assert b'"estimated":true' in (tmp_path / ONE).read_bytes()


@pytest.mark.parametrize(
    "limit", [{"requests_per_minute": 600}, {"tokens_per_minute": 600 * 50}], ids=str
)
def test_rates_are_kept(tmp_path: Path, limit: dict[str, Any]) -> None:
    with serving(echo()) as server:
        run(server, tmp_path, "abcdef", concurrency=6, **limit)
    # 600 requests a minute are one in 0.1 s; a request is at least its answer's 50 tokens.
    assert server.times[-1] - server.times[0] >= 0.45


def test_a_fault_of_the_caller_ends_the_run(tmp_path: Path) -> None:
    def questions() -> Any:
        yield question("a")
        raise KeyError("broken list")

    with (
        serving(slow(0.05, echo())) as server,
        AnswerStore(tmp_path) as store,
        pytest.raises(KeyError, match="broken list"),
    ):
        ask(questions(), Endpoint(server.url), MODEL, store)


_PROGRAM = """
import sys
from pathlib import Path
from quality.endpoint.ask import ask
from quality.endpoint.settings import Endpoint
from quality.endpoint.store import AnswerStore
from tests.quality.endpoint.asking import MODEL, question
with AnswerStore(Path(sys.argv[2])) as store:
    ask(map(question, map(str, range(40))), Endpoint(sys.argv[1], concurrency=2), MODEL, store)
"""


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    with serving(slow(0.02, echo())) as server:
        command = [sys.executable, "-c", _PROGRAM, server.url, str(tmp_path)]
        process = subprocess.Popen(command)
        try:
            until = time.monotonic() + 30
            while len(server.requests) < 12:
                assert time.monotonic() < until
                assert process.poll() is None
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
        path = tmp_path / ONE
        whole = path.read_bytes()
        path.write_bytes(whole[:-7])  # as if it had been killed in the middle of a line
        kept = whole.count(b"\n") - 1
        outcomes, tally = run(server, tmp_path, map(str, range(40)))
    assert words(outcomes) == [str(i) for i in range(40)]
    assert kept >= 8
    assert (tally.kept, tally.asked) == (kept, 40 - kept)
    assert all(re.fullmatch(rb"\{.*\}", line) for line in path.read_bytes().splitlines())
