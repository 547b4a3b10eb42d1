"""The real lm-evaluation-harness on three small tasks of its own format, and what it says.

``python -m tests.trainer.evaluation.harness_tasks FOLDER [SITE-PACKAGES]`` writes the tasks into
FOLDER, measures the small random model there and prints JSON. SITE-PACKAGES has the harness where
this environment does not: what both have is taken from this one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from trainer.evaluation.haystack import draws, invented

LONGEST = 48
"""Tokens that the model reads: some of the texts are longer."""
QUESTIONS, TEXTS, STEMS = 12, 5, 4
CHOICE, TEXT, WRITTEN = "leyden_choice", "leyden_text", "leyden_written"

YAML = {
    CHOICE: """
output_type: multiple_choice
doc_to_text: "{{query}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
""",
    TEXT: """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
""",
    WRITTEN: """
output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "{{text}}"
generation_kwargs: {until: [".", "zebra"], max_gen_toks: 9, do_sample: false, temperature: 0.0}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
""",
}


def rows() -> dict[str, list[dict[str, Any]]]:
    """The lines of each task's data."""
    sentences = iter(list(islice(invented(draws("harness")), 200)))

    def some(count: int) -> list[str]:
        return list(islice(sentences, count))

    return {
        CHOICE: [
            {"query": query, "choices": some(2 + n % 2), "answer": n % 2}
            for n, query in enumerate(" ".join(some(1 + n % 4)) for n in range(QUESTIONS))
        ],
        TEXT: [{"text": " ".join(some(1 + 2 * n))} for n in range(TEXTS)],
        WRITTEN: [{"text": text.rsplit(" ", 2)[0]} for text in some(STEMS)],
    }


def write(folder: Path) -> None:
    """The tasks, as the harness includes them from a folder."""
    for name, lines in rows().items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        head = (
            f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\n"
        )
        (folder / f"{name}.yaml").write_text(f"{head}test_split: test\n{YAML[name].lstrip()}")


def main(arguments: Sequence[str]) -> None:
    """Print what the harness finds: ``results``, and the ``samples`` of each task."""
    folder, *more = arguments
    sys.path += more
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": folder}
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from tests.trainer.evaluation.models import small_decoder, small_tokenizer
    from trainer.evaluation.lm_harness import as_harness_model

    write(Path(folder))
    model = as_harness_model(small_decoder(), small_tokenizer(), longest=LONGEST)
    found = simple_evaluate(
        model=model,
        tasks=list(YAML),
        task_manager=TaskManager(include_path=folder, include_defaults=False),
        bootstrap_iters=0,
    )
    judged = judge(found["samples"])
    told = {name: found[name] for name in ("results", "samples")} | {"judged": judged}
    print(json.dumps(told, default=str))


def judge(samples: dict[str, list[dict[str, Any]]]) -> dict[str, list[Any]]:
    """Log-probabilities of the same requests, by the harness' own cutting of pairs and windows,
    each token's read anew."""
    import torch
    from lm_eval.api.model import TemplateLM
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    from tests.trainer.evaluation.models import log_probabilities, small_decoder, small_tokenizer

    decoder, tokenizer = small_decoder(), small_tokenizer()

    class Judge(TemplateLM):  # type: ignore[misc]
        """What the harness leaves to a model, as plainly as can be; of its requests those that
        compare two texts, which is all that is asked here."""

        eot_token_id = tokenizer.eod

        def tok_encode(self, string: str, **_: Any) -> list[int]:
            ids: list[int] = tokenizer.encode(string).tolist()
            return ids

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            return [(score(before, after), False) for _, before, after in requests]

        def loglikelihood_rolling(self, requests: Any, **_: Any) -> list[float]:
            raise NotImplementedError

        def generate_until(self, requests: Any, **_: Any) -> list[str]:
            raise NotImplementedError

    def score(before: list[int], after: list[int]) -> float:
        ids = (before + after)[-(LONGEST + 1) :]
        return float(log_probabilities(decoder, torch.tensor(ids), len(ids) - len(after)).sum())

    model = Judge()
    pairs = [model._encode_pair(*pair) for one in samples[CHOICE] for pair in one["arguments"]]
    windows = [
        map(
            make_disjoint_window,
            get_rolling_token_windows(
                model.tok_encode(one["arguments"][0][0]), tokenizer.eod, LONGEST, 1
            ),
        )
        for one in samples[TEXT]
    ]
    return {
        CHOICE: [score(*pair) for pair in pairs],
        TEXT: [sum(score(*window) for window in mine) for mine in windows],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
