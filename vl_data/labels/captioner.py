"""Captions by an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa

from quality.endpoint.ask import Tally, Watch, ask
from quality.endpoint.questions import Message, Question
from quality.endpoint.settings import Cost, Endpoint, Model
from quality.endpoint.store import AnswerStore
from vl_data.labels.images import DEFAULT_SIDE, image_of
from vl_data.labels.items import Captionable
from vl_data.labels.prompts import load_prompt
from vl_data.labels.shapes import Caption
from vl_data.labels.tables import CAPTIONS, label_table


class EndpointCaptioner:
    """A ``Captioner`` that asks an OpenAI-compatible server, one question an image.

    ``tally`` says what the last call asked and cost.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: Model,
        store: AnswerStore,
        cost: Cost | None = None,
        side: int = DEFAULT_SIDE,
        watch: Watch | None = None,
    ) -> None:
        self._endpoint, self._model, self._store = endpoint, model, store
        self._cost, self._side, self._watch = cost, side, watch
        self._prompt = load_prompt("caption")
        self.tally: Tally | None = None

    def caption(self, items: Sequence[Captionable]) -> pa.Table:
        """As in ``Captioner``; raises EndpointError if the endpoint takes no question."""
        outcomes, self.tally = ask(
            map(self._question, items),
            self._endpoint,
            self._model,
            self._store,
            self._cost,
            self._watch,
        )
        rows: dict[tuple[bytes, bytes | None], dict[str, Any]] = {}
        for item, outcome in zip(items, outcomes, strict=True):
            said = outcome.answer
            key = (item.picture.digest, item.caption_digest())
            rows[key] = {
                "digest": key[0],
                "caption_digest": key[1],
                "caption": None if said is None else said.caption,
                "description": None if said is None else said.description,
                "reason": outcome.reason,
                "detail": outcome.detail or None,
            }
        return label_table(CAPTIONS, rows.values(), self.about())

    def about(self) -> dict[str, Any]:
        """What decides the labels besides the items."""
        prompt = {"name": self._prompt.name, "version": self._prompt.version}
        model = self._model.identity()
        return {"kind": "captions", "model": model, "prompt": prompt, "side": self._side}

    def _question(self, item: Captionable) -> Question[Caption]:
        found = orjson.dumps({"found_caption": item.caption}).decode()
        asked = Message("user", found, (image_of(item.picture, self._side),))
        return Question(item.id, (Message("system", self._prompt.text), asked), Caption)
