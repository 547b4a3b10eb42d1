"""A question to a model, and the key under which its answers are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

import orjson
from blake3 import blake3
from pydantic import BaseModel

from quality.endpoint.settings import Model

Answer = TypeVar("Answer", bound=BaseModel)

_DOMAIN = b"leyden.question.1\0"
_MESSAGE_BYTES = 64
"""Of a chat template around a message, generously."""


@cache
def schema_of(shape: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of an answer; not to be changed."""
    return shape.model_json_schema()


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a message.

    ``identity`` stands for it in keys (the original's digest and how it is scaled), so that a rerun
    decodes nothing; ``load`` gives its data URI, and may raise ``Unusable``.
    """

    identity: str
    load: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Message:
    """Images, then text, said by ``role`` (``system``, ``user``)."""

    role: str
    text: str
    images: tuple[Image, ...] = ()

    def identity(self) -> dict[str, Any]:
        """What stands for it in keys."""
        return {
            "role": self.role,
            "images": [image.identity for image in self.images],
            "text": self.text,
        }

    def rendered(self) -> dict[str, Any]:
        """As chat completions take it; raises ``Unusable``."""
        if not self.images:
            return {"role": self.role, "content": self.text}
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": image.load()}} for image in self.images
        ]
        return {"role": self.role, "content": [*parts, {"type": "text", "text": self.text}]}


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """Messages and the shape of the answer. ``id`` names it to people; it is not in the key."""

    id: str
    messages: tuple[Message, ...]
    shape: type[Answer]

    def key(self, model: Model) -> str:
        """64 hex digits: BLAKE3 over model, its settings, the messages and the answer's schema."""
        what = {
            **model.identity(),
            "messages": [message.identity() for message in self.messages],
            "schema": schema_of(self.shape),
        }
        payload = orjson.dumps(what, option=orjson.OPT_SORT_KEYS)
        return str(blake3(_DOMAIN + payload).hexdigest())

    def prompt_bound(self, image_tokens: int) -> int:
        """Tokens that the messages take at most.

        A byte is a token or less of one in the byte-level vocabularies that such servers use. The
        schema is counted because some servers write it into the prompt.
        """
        text = sum(len(message.text.encode()) + _MESSAGE_BYTES for message in self.messages)
        images = sum(len(message.images) for message in self.messages)
        return text + images * image_tokens + len(orjson.dumps(schema_of(self.shape)))

    def payload(self, model: Model, number: int) -> bytes:
        """The body of the request for answer 0, 1, …; raises ``Unusable``."""
        body: dict[str, Any] = {
            "model": model.name,
            "messages": [message.rendered() for message in self.messages],
            "temperature": float(model.temperature),
            "max_tokens": model.answer_tokens,
            "seed": model.seed + number,
        }
        if model.structured == "schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": self.shape.__name__.lower(),
                    "strict": True,
                    "schema": schema_of(self.shape),
                },
            }
        elif model.structured == "object":
            body["response_format"] = {"type": "json_object"}
        return orjson.dumps(body)
