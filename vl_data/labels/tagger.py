"""Capability tags by an endpoint."""

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
from vl_data.labels.items import Pair
from vl_data.labels.prompts import load_prompt
from vl_data.labels.shapes import Tag
from vl_data.labels.tables import TAGS, label_table


class EndpointTagger:
    """A ``Tagger`` that asks an OpenAI-compatible server, one question a pair.

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
        self._prompt = load_prompt("tag")
        self.tally: Tally | None = None

    def tag(self, pairs: Sequence[Pair]) -> pa.Table:
        """As in ``Tagger``; raises EndpointError if the endpoint takes no question."""
        outcomes, self.tally = ask(
            map(self._question, pairs),
            self._endpoint,
            self._model,
            self._store,
            self._cost,
            self._watch,
        )
        rows: dict[bytes, dict[str, Any]] = {}
        for pair, outcome in zip(pairs, outcomes, strict=True):
            digest = pair.digest()
            rows[digest] = {
                "digest": digest,
                "tag": None if outcome.answer is None else outcome.answer.tag,
                "reason": outcome.reason,
                "detail": outcome.detail or None,
            }
        return label_table(TAGS, rows.values(), self.about())

    def about(self) -> dict[str, Any]:
        """What decides the labels besides the pairs."""
        prompt = {"name": self._prompt.name, "version": self._prompt.version}
        model = self._model.identity()
        return {"kind": "tags", "model": model, "prompt": prompt, "side": self._side}

    def _question(self, pair: Pair) -> Question[Tag]:
        exercise = orjson.dumps({"instruction": pair.instruction, "answer": pair.answer})
        images = tuple(image_of(picture, self._side) for picture in pair.pictures)
        asked = Message("user", exercise.decode(), images)
        return Question(pair.id, (Message("system", self._prompt.text), asked), Tag)
