"""A sample as one line of JSON, in the form of LLaVA's conversations."""

from __future__ import annotations

from typing import Any

from vl_data.synthesis.sample import Sample, Split
from vl_data.synthesis.texts import IMAGE_TAG

FOLDER = "images"


def sample_name(number: int, sample: Sample) -> str:
    """``counting-000017``."""
    return f"{sample.family}-{number:06d}"


def image_path(number: int, sample: Sample) -> str:
    """Where a sample's PNG lies, from the folder of the JSON lines."""
    return f"{FOLDER}/{sample_name(number, sample)}.png"


def record_of(number: int, sample: Sample, split: Split) -> dict[str, Any]:
    """The line of a sample.

    ``image`` and ``conversations`` are LLaVA's: the image's tag stands before the first question.
    ``prompts`` says of each question its kind and prompt type.
    """
    conversations = []
    for turn, (question, answer) in enumerate(sample.turns):
        shown = f"{IMAGE_TAG}\n{question}" if turn == 0 else question
        conversations.append({"from": "human", "value": shown})
        conversations.append({"from": "gpt", "value": answer})
    return {
        "id": sample_name(number, sample),
        "image": image_path(number, sample),
        "conversations": conversations,
        "family": sample.family,
        "layout": sample.layout,
        "split": split,
        "width": sample.width,
        "height": sample.height,
        "prompts": [{"kind": asked.kind, "prompt": asked.prompt} for asked in sample.asked],
        "description": sample.description,
        "truth": sample.truth,
    }
