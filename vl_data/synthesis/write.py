"""A folder of samples: PNGs, and one file of JSON lines that says what is asked of them."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from vl_data.synthesis.errors import SynthesisError
from vl_data.synthesis.forms import form_of
from vl_data.synthesis.records import FOLDER
from vl_data.synthesis.sample import Sample
from vl_data.synthesis.synthesise import Settings, synthesise, versions
from vl_data.synthesis.texts import TextPool

SAMPLES_FILE = "samples.jsonl"
CARD_FILE = "synthesis.json"
_BATCH = 25
"""Samples of one call to a process."""

_given: tuple[Settings, TextPool] | None = None


def write_samples(
    folder: Path,
    count: int,
    settings: Settings,
    documents: Iterable[tuple[str, str]] = (),
    workers: int = 1,
    form: str = "instructions",
) -> dict[str, Any]:
    """Make samples ``0 … count - 1`` and write them.

    Parameters
    ----------
    folder : Path
        Gets ``images/``, ``samples.jsonl`` and ``synthesis.json`` (settings, versions, counts).
    documents : iterable of (id, text)
        Where the words in pictures come from.
    workers : int
        Processes; their number changes no byte.
    form : str
        Of the lines: a name of ``FORMS``.

    Returns
    -------
    dict
        What ``synthesis.json`` holds.

    Raises
    ------
    SynthesisError
        If the folder holds samples already: of other settings they would be mixed with these. And
        for a form that is none.
    """
    line_of = form_of(form)
    if count < 1:
        raise SynthesisError(f"count: found {count}, expected at least 1")
    if workers < 1:
        raise SynthesisError(f"workers: found {workers}, expected at least 1")
    if (folder / SAMPLES_FILE).exists():
        raise SynthesisError(
            f"{folder / SAMPLES_FILE}: found samples, expected a folder without any; name another "
            "folder, or delete this one to make its samples anew"
        )
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    families: Counter[str] = Counter()
    prompts: Counter[str] = Counter()
    texts = TextPool(documents)
    unfinished = folder / f"{SAMPLES_FILE}.part"
    with unfinished.open("wb") as lines:
        for number, sample in enumerate(_made(count, settings, texts, workers)):
            record = line_of(number, sample, settings.split, settings.seed)
            if "image" in record:
                (folder / record["image"]).write_bytes(sample.image)
            lines.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            families[sample.family] += 1
            prompts.update(asked["prompt"] for asked in record["prompts"])
    card = {
        "format": "leyden.synthesis",
        "version": 1,
        "count": count,
        "form": form,
        "settings": asdict(settings),
        "documents": len(texts),
        "families": dict(sorted(families.items())),
        "prompts": dict(sorted(prompts.items())),
        "versions": versions(),
    }
    (folder / CARD_FILE).write_bytes(
        orjson.dumps(card, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    )
    # Last: a folder with this name is whole.
    unfinished.rename(folder / SAMPLES_FILE)
    return card


def _made(count: int, settings: Settings, texts: TextPool, workers: int) -> Iterator[Sample]:
    batches = [range(i, min(i + _BATCH, count)) for i in range(0, count, _BATCH)]
    with ExitStack() as stack:
        if workers == 1:
            _start(settings, texts)
            found: Iterable[list[Sample]] = map(_batch, batches)
        else:
            # Not forked: whoever calls may have threads.
            pool = stack.enter_context(
                ProcessPoolExecutor(
                    min(workers, len(batches)),
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=_start,
                    initargs=(settings, texts),
                )
            )
            found = pool.map(_batch, batches)
        for samples in found:
            yield from samples


def _start(settings: Settings, texts: TextPool) -> None:
    global _given
    _given = settings, texts


def _batch(numbers: range) -> list[Sample]:
    if _given is None:
        raise RuntimeError("a process was asked for samples before it was told of which")
    settings, texts = _given
    return [synthesise(number, settings, texts) for number in numbers]
