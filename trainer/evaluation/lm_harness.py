"""A model as EleutherAI's lm-evaluation-harness (0.4) calls one.

The harness is not a dependency: `as_harness_model` imports it, nothing else does.

    lm_eval.simple_evaluate(model=as_harness_model(decoder, tokenizer), tasks=["hellaswag"])
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from dataflow.tokenizer import Tokenizer
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.likelihood import BATCH_TOKENS, batches, follow
from trainer.evaluation.texts import as_tokens
from trainer.generation.decoder import Decoder
from trainer.generation.sampling import Sampling, continue_prompts
from trainer.generation.text import TextStream

LONGEST = 1 << 13
MAX_GENERATED = 256
_MOST = ("max_gen_toks", "max_new_tokens", "max_tokens")
"""Names that tasks give to the number of tokens to write; the first one counts."""


class Request(Protocol):
    """The harness' ``Instance``, as far as a model reads it."""

    @property
    def args(self) -> tuple[Any, ...]:
        """What is asked."""


class HarnessModel:
    """The three measurements of the harness' ``LM``.

    Where nothing precedes a text, the end of document does: the harness' custom, which scores a
    text's first token too. The model never saw a token after an end of document, so that this one
    score says little.

    Args:
        decoder, tokenizer: of one model.
        longest: tokens that the model reads at most before it says the next one; a longer context
            loses its beginning, a longer text is scored in windows as the harness cuts them: each
            begins with the token that the one before ended with, and the last one is as long as
            they are, of which only what is new counts.
        batch_tokens: read at once.
        seed: of sampled generation.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        *,
        longest: int = LONGEST,
        batch_tokens: int = BATCH_TOKENS,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if longest < 2:
            raise EvaluationError(f"longest: found {longest} tokens, expected 2 or more")
        self._decoder, self._tokenizer = decoder, tokenizer
        self._longest, self._batch_tokens, self._seed = longest, batch_tokens, seed

    @property
    def tokenizer_name(self) -> str:
        """What the harness' caches know the tokenizer by."""
        return f"leyden-{self._tokenizer.hash}"

    def loglikelihood(
        self, requests: Sequence[Request], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Of each ``(context, continuation)``: the continuation's log-probability in nats, and
        whether greedy generation writes it.

        Raises:
            EvaluationError: a continuation that is empty, or longer than the model reads.
        """
        _ = disable_tqdm
        # Requests of one context come side by side: it is read once for all of them.
        contexts: dict[tuple[int, ...], list[tuple[int, torch.Tensor]]] = {}
        for i, request in enumerate(requests):
            context, continuation = self._pair(*request.args)
            contexts.setdefault(tuple(context.tolist()), []).append((i, continuation))
        scored = follow(
            self._decoder,
            [torch.tensor(context) for context in contexts],
            [[continuation for _, continuation in mine] for mine in contexts.values()],
            most=self._batch_tokens,
        )
        found = [(0.0, False)] * len(requests)
        for mine, scores in zip(contexts.values(), scored, strict=True):
            for (i, _), score in zip(mine, scores, strict=True):
                found[i] = score.total, score.greedy
        return found

    def loglikelihood_rolling(
        self, requests: Sequence[Request], disable_tqdm: bool = False
    ) -> list[float]:
        """The log-probability in nats of each ``(text,)``, all its tokens."""
        _ = disable_tqdm
        windows: list[tuple[int, int, torch.Tensor]] = []
        for i, request in enumerate(requests):
            ids = self._start(as_tokens(self._tokenizer, request.args[0]))
            predicted = len(ids) - 1
            for done in range(0, predicted, self._longest):
                end = min(done + self._longest, predicted)
                windows.append((i, end - done, ids[max(0, end - self._longest) : end + 1]))
        found = [0.0] * len(requests)
        for batch in batches([len(ids) for _, _, ids in windows], self._batch_tokens):
            scores = self._decoder.score([windows[j][2] for j in batch])
            for j, score in zip(batch, scores, strict=True):
                i, new, _ = windows[j]
                found[i] += float(score[-new:].double().sum())
        return found

    def generate_until(self, requests: Sequence[Request], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each ``(context, arguments)``.

        Arguments: ``until`` (a text or texts, at the first of which the answer ends, itself left
        out), ``max_gen_toks`` (256; also as ``max_new_tokens`` or ``max_tokens``), ``do_sample``,
        ``temperature``, ``top_p``. Greedy unless ``do_sample`` is true or a temperature above 0 is
        given without it. What is drawn depends on the requests that are read together, too.

        Raises:
            EvaluationError: an argument that is not one of these, or no room for a prompt.
        """
        _ = disable_tqdm
        asked = [_Generation(*request.args) for request in requests]
        alike: dict[str, list[int]] = {}
        for i, one in enumerate(asked):
            alike.setdefault(json.dumps([one.most, one.temperature, one.top_p]), []).append(i)
        found = [""] * len(requests)
        for rows in alike.values():
            most = asked[rows[0]].most
            if most >= self._longest:
                raise EvaluationError(
                    f"max_gen_toks: found {most}, expected fewer than the {self._longest} tokens "
                    "that the model reads"
                )
            prompts = [self._prompt(asked[i].context, self._longest - most) for i in rows]
            sizes = [len(prompt) + most for prompt in prompts]
            for batch in batches(sizes, self._batch_tokens):
                texts = self._write([prompts[j] for j in batch], [asked[rows[j]] for j in batch])
                for j, text in zip(batch, texts, strict=True):
                    found[rows[j]] = text
        return found

    def _start(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.tensor([self._tokenizer.eod]), ids])

    def _prompt(self, context: str, room: int) -> torch.Tensor:
        ids = as_tokens(self._tokenizer, context)
        return ids[-room:] if len(ids) else self._start(ids)

    def _pair(self, context: str, continuation: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids of a context and of what follows, cut where the tokens of both together are."""
        bare = context.rstrip()
        if bare:
            # A blank belongs to the word after it, as the tokenizer has it.
            whole = as_tokens(self._tokenizer, context + continuation)
            before = as_tokens(self._tokenizer, bare)
            after = whole[len(before) :]
        else:
            before = torch.tensor([self._tokenizer.eod])
            after = as_tokens(self._tokenizer, context + continuation)
        # The last token is said, not read.
        room = self._longest + 1 - len(after)
        if not len(after) or room < 1:
            raise EvaluationError(
                f"found a continuation of {len(after)} tokens ({continuation[:40]!r}), expected 1 "
                f"to {self._longest}"
            )
        return before[-room:], after

    def _write(self, prompts: list[torch.Tensor], asked: list[_Generation]) -> list[str]:
        streams = [TextStream(self._tokenizer) for _ in prompts]
        texts = [""] * len(prompts)
        open_ = set(range(len(prompts)))
        sampling = Sampling(asked[0].temperature, asked[0].top_p, self._seed)
        eod = self._tokenizer.eod
        for step in continue_prompts(
            self._decoder, prompts, most=asked[0].most, stop=frozenset({eod}), sampling=sampling
        ):
            for row, token in step:
                if row not in open_:
                    continue
                more = streams[row].end() if token == eod else streams[row].push(token)
                texts[row], ended = asked[row].cut(texts[row] + more)
                if ended or token == eod:
                    open_.discard(row)
            if not open_:
                break
        for row in open_:
            texts[row], _ = asked[row].cut(texts[row] + streams[row].end())
        return texts


class _Generation:
    """One request to write."""

    def __init__(self, context: str, arguments: dict[str, Any]) -> None:
        left = dict(arguments)
        until = left.pop("until", None) or []
        self.context = context
        self.until = [until] if isinstance(until, str) else list(until)
        named = [left.pop(name, None) for name in _MOST]
        self.most = int(next((most for most in named if most), MAX_GENERATED))
        sample = left.pop("do_sample", None)
        temperature = float(left.pop("temperature", 1.0 if sample else 0.0))
        self.temperature = 0.0 if sample is False else temperature
        self.top_p = float(left.pop("top_p", 1.0))
        if left:
            raise EvaluationError(
                f"found the arguments of generation {sorted(left)}, expected some of until, "
                "max_gen_toks, do_sample, temperature, top_p"
            )

    def cut(self, text: str) -> tuple[str, bool]:
        """The text up to the first of ``until``, and whether one was there."""
        places = [at for at in (text.find(stop) for stop in self.until if stop) if at >= 0]
        return (text[: min(places)], True) if places else (text, False)


def as_harness_model(decoder: Decoder, tokenizer: Tokenizer, **options: Any) -> Any:
    """A `HarnessModel` that is the harness' ``LM`` too; ``options`` as there.

    Raises:
        EvaluationError: the harness is not installed.
    """
    try:
        model = importlib.import_module("lm_eval.api.model")
    except ImportError as error:
        raise EvaluationError(
            f"lm-evaluation-harness cannot be imported ({error}); run `pip install lm-eval`"
        ) from error
    both = type("LeydenModel", (HarnessModel, model.LM), {"__doc__": HarnessModel.__doc__})
    return both(decoder, tokenizer, **options)
