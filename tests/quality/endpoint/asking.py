"""Questions and settings for these tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from quality.endpoint.ask import Outcome, Tally, ask
from quality.endpoint.questions import Message, Question
from quality.endpoint.settings import Cost, Endpoint, Model
from quality.endpoint.store import AnswerStore
from tests.quality.endpoint.misbehaving import Act, Handler, Server, completion, text_of


class Word(BaseModel):
    model_config = ConfigDict(extra="forbid")
    word: str


MODEL = Model("toy", answer_tokens=50)


def question(text: str, name: str | None = None) -> Question[Word]:
    return Question(name or text, (Message("system", "Echo."), Message("user", text)), Word)


def echo(usage: tuple[int, int] | None = (10, 5)) -> Act:
    """Answer with the question's text."""

    def act(handler: Handler, payload: dict[str, Any]) -> None:
        handler.send(200, completion(json.dumps({"word": text_of(payload)}), usage))

    return act


def run(
    server: Server,
    folder: Path,
    texts: Iterable[str],
    cost: Cost | None = None,
    model: Model = MODEL,
    **settings: Any,
) -> tuple[list[Outcome[Word]], Tally]:
    """Ask texts, with waits that suit a test."""
    quick = {"concurrency": 4, "timeout": 5.0, "backoff": 0.01, "attempts": 3, **settings}
    with AnswerStore(folder) as store:
        return ask(map(question, texts), Endpoint(server.url, **quick), model, store, cost)


def words(outcomes: Iterable[Outcome[Word]]) -> list[str | None]:
    """What was answered, or the reason why not."""
    return [o.reason if o.answer is None else o.answer.word for o in outcomes]
