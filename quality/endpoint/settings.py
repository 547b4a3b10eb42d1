"""Which model is asked, how fast, and what it may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Model:
    """What decides an answer besides the messages: part of the key under which it is kept.

    ``structured`` is how the answer's shape is asked for (``response_format`` of the OpenAI API):
    ``schema`` sends the JSON schema, ``object`` asks for any JSON object, ``none`` asks nothing;
    the answer is held against the schema in any case. ``answer_tokens`` bounds an answer. ``seed``
    rises by one with each further answer to the same question.
    """

    name: str
    temperature: float = 0.0
    answer_tokens: int = 1024
    seed: int = 0
    structured: Literal["schema", "object", "none"] = "schema"

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("model: found an empty name, expected one that the endpoint serves")
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature: found {self.temperature}, expected 0 to 2")
        _at_least("answer_tokens", self.answer_tokens, 1)
        if self.structured not in ("schema", "object", "none"):
            raise ValueError(
                f"structured: found {self.structured!r}, expected schema, object or none"
            )

    def identity(self) -> dict[str, Any]:
        """What enters a question's key."""
        return {
            "model": self.name,
            "temperature": float(self.temperature),
            "max_tokens": self.answer_tokens,
            "seed": self.seed,
            "structured": self.structured,
        }


@dataclass(frozen=True, slots=True)
class Cost:
    """Prices (money for a million tokens, of any currency) and caps on all that a store holds.

    A cap of None is none. A question is asked only if its dearest outcome still fits, so that a cap
    holds as long as ``image_tokens`` is no less than what the server counts for an image.
    """

    prompt_price: float = 0.0
    answer_price: float = 0.0
    money: float | None = None
    tokens: int | None = None
    image_tokens: int = 4096

    def __post_init__(self) -> None:
        for name in ("prompt_price", "answer_price", "money", "tokens", "image_tokens"):
            value = getattr(self, name)
            if value is not None:
                _at_least(name, value, 0)
        if self.money is not None and not (self.prompt_price or self.answer_price):
            raise ValueError(
                "money: found a cap but no price, expected prompt_price and answer_price"
                " (for a million tokens); to cap without prices, use tokens"
            )

    def of(self, prompt: int, answer: int) -> float:
        """The money for some tokens."""
        return (prompt * self.prompt_price + answer * self.answer_price) / 1e6


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model is and how it is treated; none of this reaches an answer or its key.

    ``url`` ends where the API begins (``http://127.0.0.1:8000/v1``). Times are in seconds:
    ``timeout`` for one exchange; the n-th retry waits ``backoff`` times 2^(n-1), at most
    ``longest_backoff``, or as long as the server's Retry-After says; over ``patience`` the run
    stops. ``attempts`` bounds failed exchanges for each answer, ``answers`` unusable answers for
    each question. After ``give_up`` questions in a row have failed by exchange, the run stops.
    """

    url: str
    api_key: str | None = None
    concurrency: int = 16
    timeout: float = 120.0
    attempts: int = 6
    answers: int = 3
    backoff: float = 1.0
    longest_backoff: float = 60.0
    patience: float = 600.0
    give_up: int = 10
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    largest_answer: int = 8 << 20

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"endpoint: found {self.url!r}, expected a URL such as http://127.0.0.1:8000/v1"
            )
        for name in ("concurrency", "attempts", "answers", "give_up", "largest_answer"):
            _at_least(name, getattr(self, name), 1)
        for name in ("backoff", "longest_backoff", "patience"):
            _at_least(name, getattr(self, name), 0)
        for name in ("timeout", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}: found {value}, expected more than 0")

    def address(self) -> str:
        """Where chat completions are asked for."""
        return self.url.rstrip("/") + "/chat/completions"

    def wait(self, retry: int) -> float:
        """Seconds before retry 1, 2, …: exponential, without chance."""
        return float(min(self.longest_backoff, self.backoff * 2.0 ** min(retry - 1, 60)))


def _at_least(name: str, value: float, least: float) -> None:
    if not (value >= least and math.isfinite(value)):
        raise ValueError(f"{name}: found {value}, expected {least} or more")
