"""From the raw body of a chat completion to an answer of the shape asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from quality.endpoint.failures import (
    AnswerCut,
    InvalidJson,
    InvalidResponse,
    Refused,
    SchemaMismatch,
)
from quality.endpoint.questions import Answer

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL)
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a server counts; None of what it does not say."""

    prompt: int | None
    answer: int | None


def read_answer(body: bytes, shape: type[Answer]) -> Answer:
    """The answer in a response that is kept.

    Raises
    ------
    BadAnswer, Final
        By what is wrong with it; each detail says what was found.
    """
    choice = _choice(body)
    message = choice["message"]
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        raise Refused(f"the model says {_excerpt(message['refusal'])}")
    if choice.get("finish_reason") == "content_filter":
        raise Refused("found finish_reason content_filter")
    if choice.get("finish_reason") == "length":
        raise AnswerCut("found finish_reason length, expected a complete answer")
    content = message.get("content")
    if not isinstance(content, str):
        raise InvalidResponse("found no text in choices[0].message.content")
    # Servers that were not asked for a schema tend to fence what they write.
    fenced = _FENCED.fullmatch(content)
    try:
        found = orjson.loads(fenced[1] if fenced else content)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"found {_excerpt(content)}, expected JSON") from error
    try:
        return shape.model_validate(found, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise SchemaMismatch(
            f"{where}: {first['msg']}, found {_excerpt(repr(first['input']))}"
        ) from error


def read_usage(body: bytes) -> Usage:
    """What the server says that a response cost."""
    try:
        usage = orjson.loads(body)["usage"]
        return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return Usage(None, None)


def _choice(body: bytes) -> dict[str, Any]:
    try:
        choice = orjson.loads(body)["choices"][0]
        if isinstance(choice["message"], dict):
            return dict(choice)
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        pass
    shown = _excerpt(body.decode("utf-8", "replace"))
    raise InvalidResponse(f"found {shown}, expected a chat completion with choices[0].message")


def _count(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return int(value) if whole and value >= 0 else None


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…")
