"""The harness' three measurements, by requests that have ``args`` as its own do."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dataflow.tokenizer import Tokenizer
from tests.trainer.evaluation.harness_tasks import CHOICE, LONGEST, TEXT, WRITTEN
from tests.trainer.evaluation.models import log_probabilities
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.haystack import draws, invented
from trainer.evaluation.lm_harness import HarnessModel, as_harness_model
from trainer.evaluation.texts import as_tokens
from trainer.generation.decoder import Decoder
from trainer.generation.sampling import Sampling, continue_prompts

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Asked:
    args: tuple[Any, ...]


@pytest.fixture
def model(decoder: Decoder, tokenizer: Tokenizer) -> HarnessModel:
    return HarnessModel(decoder, tokenizer)


def greedy(decoder: Decoder, prompt: torch.Tensor, most: int) -> list[int]:
    steps = continue_prompts(
        decoder, [prompt], most=most, stop=frozenset(), sampling=Sampling(temperature=0)
    )
    return [token for step in steps for _, token in step]


def test_loglikelihood(model: HarnessModel, decoder: Decoder, tokenizer: Tokenizer) -> None:
    context = "The sailor watched the old boat"
    pairs = [
        (context, " near the harbour"), ("In the winter", ", a"), (context, " and the mill"),
        (context + "  ", "near the harbour"), ("", "The boat"), (" ", "boat"),
    ]  # fmt: skip
    found = model.loglikelihood([Asked(pair) for pair in pairs], disable_tqdm=True)
    for (before, after), (score, _) in zip(pairs, found, strict=True):
        whole = as_tokens(tokenizer, before + after)
        start = len(as_tokens(tokenizer, before.rstrip()))
        if not before.strip():
            whole, start = torch.cat([torch.tensor([tokenizer.eod]), whole]), 1
        wanted = log_probabilities(decoder, whole)[start - 1 :].sum()
        assert score == pytest.approx(float(wanted), abs=1e-3)
    with pytest.raises(EvaluationError, match="continuation of 0 tokens"):
        model.loglikelihood([Asked(("a", ""))])


def test_what_greedy_generation_writes_is_greedy(
    model: HarnessModel, decoder: Decoder, tokenizer: Tokenizer
) -> None:
    checked = 0
    for context in islice(invented(draws("greedy")), 30):
        ids = as_tokens(tokenizer, context)
        tokens = torch.tensor(greedy(decoder, ids, 2))
        written = tokenizer.decode(tokens.tolist()).decode(errors="replace")
        if not torch.equal(as_tokens(tokenizer, context + written), torch.cat([ids, tokens])):
            continue  # a random model writes pieces of characters, and pairs that would be merged
        checked += 1
        requests = [Asked((context, written)), Asked((context, " zebra"))]
        assert [is_greedy for _, is_greedy in model.loglikelihood(requests)] == [True, False]
    assert checked


def test_a_long_context_loses_its_beginning(decoder: Decoder, tokenizer: Tokenizer) -> None:
    text, after = "The clerk counted the boats. " * 9 + "In the", " winter"
    ids, tail = as_tokens(tokenizer, text), as_tokens(tokenizer, after)
    model = HarnessModel(decoder, tokenizer, longest=20)
    ((score, _),) = model.loglikelihood([Asked((text, after))])
    kept = torch.cat([ids[-(21 - len(tail)) :], tail])
    wanted = log_probabilities(decoder, kept)[-len(tail) :].sum()
    assert score == pytest.approx(float(wanted), abs=1e-3)
    with pytest.raises(EvaluationError, match="expected 1 to 20"):
        model.loglikelihood([Asked(("a", text))])
    with pytest.raises(EvaluationError, match="expected 2 or more"):
        HarnessModel(decoder, tokenizer, longest=1)


def test_loglikelihood_rolling_scores_every_token_once(
    model: HarnessModel, decoder: Decoder, tokenizer: Tokenizer
) -> None:
    texts = ["The painter mended a fence near the mill.", "A", "", "In the evening " * 5]
    found = model.loglikelihood_rolling([Asked((text,)) for text in texts])
    windowed = HarnessModel(decoder, tokenizer, longest=6)
    cut = windowed.loglikelihood_rolling([Asked((text,)) for text in texts])
    for text, score, by_window in zip(texts, found, cut, strict=True):
        ids = torch.cat([torch.tensor([tokenizer.eod]), as_tokens(tokenizer, text)])
        if len(ids) == 1:
            assert score == by_window == 0
            continue
        assert score == pytest.approx(float(log_probabilities(decoder, ids).sum()), abs=1e-3)
        wanted = 0.0
        for end in range(6, len(ids) + 5, 6):
            # Six new ones after one that was said before, or at the end fewer after more.
            new, last = min(6, len(ids) + 5 - end), min(end, len(ids) - 1)
            known = log_probabilities(decoder, ids[max(0, last - 6) : last + 1])
            wanted += float(known[-new:].sum())
        assert by_window == pytest.approx(wanted, abs=1e-3)


def test_generate_until(model: HarnessModel, decoder: Decoder, tokenizer: Tokenizer) -> None:
    contexts = ["The baker", "In the summer, a wooden cart", ""]
    plain: list[str] = []
    for context in contexts:
        ids = as_tokens(tokenizer, context) if context else torch.tensor([tokenizer.eod])
        tokens = greedy(decoder, ids, 12)
        if tokenizer.eod in tokens:
            tokens = tokens[: tokens.index(tokenizer.eod)]
        plain.append(tokenizer.decode(tokens).decode(errors="replace"))
    asked = [Asked((c, {"until": [], "max_gen_toks": 12})) for c in contexts]
    assert model.generate_until(asked) == plain
    assert HarnessModel(decoder, tokenizer, batch_tokens=1).generate_until(asked) == plain
    stops = [text[len(text) // 2 :][:2] for text in plain]
    found = model.generate_until(
        [
            Asked((c, {"until": ["never seen", stop], "max_tokens": 12, "do_sample": False}))
            for c, stop in zip(contexts, stops, strict=True)
        ]
    )
    assert found == [t[: t.index(s)] for t, s in zip(plain, stops, strict=True)]
    assert any(a != b for a, b in zip(found, plain, strict=True))
    drawn = [
        HarnessModel(decoder, tokenizer, seed=seed).generate_until(
            [Asked(("The", {"until": "\n\n", "do_sample": True, "max_gen_toks": 20}))]
        )
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(EvaluationError, match="beams"):
        model.generate_until([Asked(("a", {"beams": 3}))])
    with pytest.raises(EvaluationError, match="max_gen_toks: found 9000"):
        model.generate_until([Asked(("a", {"max_gen_toks": 9000}))])


def test_the_harness_is_imported_only_where_it_is_asked_for(
    decoder: Decoder, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LM:
        """The base class that the harness has, as far as its evaluator reads it."""

        def __init__(self) -> None:
            self.cache_hook = "set"

    module = ModuleType("lm_eval.api.model")
    module.LM = LM  # type: ignore[attr-defined]
    for name in ("lm_eval", "lm_eval.api"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", module)
    model = as_harness_model(decoder, tokenizer, longest=64)
    assert issubclass(type(model), LM)
    assert model.cache_hook == "set"
    assert model.tokenizer_name == f"leyden-{tokenizer.hash}"
    assert model.loglikelihood_rolling([Asked(("",))]) == [0]
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(EvaluationError, match="pip install lm-eval"):
        as_harness_model(decoder, tokenizer)


@pytest.mark.long
def test_the_real_harness(decoder: Decoder, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Its scores, from its own tasks, are those of tokens read one by one as it would cut them."""
    own = importlib.util.find_spec("lm_eval") is not None
    places = [] if own else sorted(ROOT.glob(".venv-peers-lm-eval/lib/python*/site-packages"))
    if not own and not places:
        pytest.skip(
            "needs lm-evaluation-harness: benchmarks/peers/make_env.sh lm-eval, or pip install "
            "lm-eval"
        )
    asked = ["-m", "tests.trainer.evaluation.harness_tasks", tmp_path, *places[:1]]
    done = subprocess.run(
        [sys.executable, *map(str, asked)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    choices, texts, written = (found["samples"][name] for name in (CHOICE, TEXT, WRITTEN))

    scores = [resp[0][0] for one in choices for resp in one["resps"]]
    assert scores == pytest.approx(found["judged"][CHOICE], abs=1e-3)
    right = [one["acc"] for one in choices]
    for one, is_right in zip(choices, right, strict=True):
        mine = [resp[0][0] for resp in one["resps"]]
        assert is_right == (mine.index(max(mine)) == one["doc"]["answer"])
    assert 0 < sum(right) < len(right)
    assert found["results"][CHOICE]["acc,none"] == pytest.approx(sum(right) / len(right))

    nats = [float(one["resps"][0][0]) for one in texts]
    assert nats == pytest.approx(found["judged"][TEXT], abs=1e-3)
    lengths = [len(one["doc"]["text"].encode()) for one in texts]
    assert max(len(as_tokens(tokenizer, one["doc"]["text"])) for one in texts) > 2 * LONGEST
    bits = -sum(nats) / sum(lengths) / math.log(2)
    assert found["results"][TEXT]["bits_per_byte,none"] == pytest.approx(bits)

    for one in written:
        stem = one["doc"]["text"]
        tokens = greedy(decoder, as_tokens(tokenizer, stem), 9)
        tokens = tokens[: tokens.index(tokenizer.eod)] if tokenizer.eod in tokens else tokens
        text = tokenizer.decode(tokens).decode(errors="replace")
        assert one["resps"] == [[text.split(".")[0].split("zebra")[0]]]
    assert len({one["resps"][0][0] for one in written}) > 1
