"""A server that judges by what it reads, and documents for it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xxhash

from quality.reward.labeler.documents import About, Document
from quality.reward.labeler.endpoint import question_of
from quality.reward.labels import CATEGORIES
from tests.quality.endpoint.misbehaving import Act, Handler, completion, text_of

CHARACTERS = 400
GOOD = {
    "reason": "Explains how locks are kept.",
    "depth": 3,
    "helpfulness": 4,
    "coherence": 5,
    "conciseness": 2,
    "educational_value": 1,
    "category": "education",
}


def judging(usage: tuple[int, int] | None = (900, 60)) -> Act:
    """Scores out of a hash of the message: the same document has the same, others have others."""

    def act(handler: Handler, payload: dict[str, Any]) -> None:
        handler.send(200, completion(json.dumps(judgement_of(text_of(payload))), usage))

    return act


def judgement_of(message: str) -> dict[str, Any]:
    """What ``judging`` answers to a message."""
    number = xxhash.xxh3_64_intdigest(message.encode())
    names = ("depth", "helpfulness", "coherence", "conciseness", "educational_value")
    points = {name: (number >> 8 * i) % 6 for i, name in enumerate(names)}
    category = CATEGORIES[(number >> 40) % len(CATEGORIES)]
    return {"reason": f"Number {number % 100}.", **points, "category": category}


def document(text: str) -> Document:
    """A document of this text."""
    digest = xxhash.xxh3_128_digest(text.encode())
    about = About(digest, "list", "list.jsonl", 0, "en", len(text), "train", not text.strip())
    return Document(about, text)


def asked_of(text: str, characters: int = CHARACTERS) -> str:
    """The user's message about a document of this text."""
    return question_of(document(text), characters).messages[-1].text


def lines(path: Path, texts: Iterable[str]) -> Path:
    """A file of documents."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
