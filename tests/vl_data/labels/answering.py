"""A server that captions by what it sees and tags by what it reads."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from PIL import Image

from tests.quality.endpoint.misbehaving import Act, Handler, completion, text_of


def picture_of(payload: dict[str, Any]) -> Image.Image:
    """The first image of a request, decoded."""
    url = payload["messages"][-1]["content"][0]["image_url"]["url"]
    head, data = url.split(",", 1)
    assert head == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    image.load()
    return image


def captions(usage: tuple[int, int] = (300, 40)) -> Act:
    """Say the size of the image and the caption that was found."""

    def act(handler: Handler, payload: dict[str, Any]) -> None:
        found = json.loads(text_of(payload))["found_caption"]
        width, height = picture_of(payload).size
        said = {"caption": f" {found}, refined ", "description": f"{width} by {height}"}
        handler.send(200, completion(json.dumps(said), usage))

    return act


def tags(usage: tuple[int, int] = (50, 5)) -> Act:
    """The first word of the instruction is the tag."""

    def act(handler: Handler, payload: dict[str, Any]) -> None:
        tag = json.loads(text_of(payload))["instruction"].split(":")[0]
        handler.send(200, completion(json.dumps({"tag": tag}), usage))

    return act
