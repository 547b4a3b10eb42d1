"""What decides the documents of a synthesised source: its settings, and what draws here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import xxhash

from dataflow.code import DRAWING, code_digest
from dataflow.sources.digests import file_digest
from dataflow.sources.filesystems import local_path
from dataflow.sources.spec import PlanError, SourceSpec, Synthesis

if TYPE_CHECKING:  # draws with matplotlib, which not every machine has
    from vl_data.synthesis.synthesise import Settings
    from vl_data.synthesis.texts import TextPool


def synthesis_of(spec: SourceSpec) -> Synthesis:
    """What the source is to make.

    Raises
    ------
    PlanError
        If it does not say.
    """
    if spec.synthesis is None:
        raise PlanError(f"source {spec.name!r}: found no `synthesis`, expected what to make")
    return spec.synthesis


def settings_of(spec: SourceSpec) -> Settings:
    """The settings as ``vl_data.synthesis`` takes them.

    Raises
    ------
    PlanError
        For a size, a family or the like that cannot be made, and without matplotlib.
    """
    from vl_data.synthesis.errors import SynthesisError

    asked = synthesis_of(spec)
    try:
        from vl_data.synthesis.synthesise import Settings

        return Settings(
            seed=spec.seed,
            size=asked.size,
            families=asked.families or None,
            split=asked.split,
            aspects=asked.aspects,
        )
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise PlanError(
            f"source {spec.name!r}: found no matplotlib, expected it: it draws charts, and holds "
            "the fonts of all pictures; install it with `pip install 'leyden[synthesis]'`"
        ) from error
    except SynthesisError as error:
        raise PlanError(f"source {spec.name!r}: {error}") from error


def texts_of(spec: SourceSpec) -> TextPool:
    """The words to draw.

    Raises
    ------
    PlanError
        If there is no such file, or a line of it is not as it should be.
    """
    from vl_data.synthesis.documents import read_documents
    from vl_data.synthesis.errors import SynthesisError
    from vl_data.synthesis.texts import TextPool

    path = _text_file(spec)
    try:
        return TextPool(() if path is None else read_documents(Path(path)))
    except SynthesisError as error:
        told = str(error).replace("; expected ", ", expected ", 1)
        raise PlanError(f"source {spec.name!r}: text: found {told}") from error


def _text_file(spec: SourceSpec) -> str | None:
    text = synthesis_of(spec).text
    return local_path(text, spec.base) if text else None


def fingerprint(spec: SourceSpec) -> str:
    """``xxh3:`` and 32 hex digits over all that decides the document of a number: settings, words,
    the code that draws, and the libraries that it draws with.

    How many are made is not part of it: a larger count leaves the first ones as they are.
    """
    from vl_data.synthesis.synthesise import versions

    asked = synthesis_of(spec)
    decides = [spec.seed, asked.form, asked.size, asked.families, asked.aspects, asked.split]
    code = [code_digest(f"{DRAWING}{module}") for module in ("forms", "synthesise")]
    path = _text_file(spec)
    words = file_digest(path) if path is not None else ""
    data = orjson.dumps([decides, words, code, versions()], option=orjson.OPT_SORT_KEYS)
    return "xxh3:" + xxhash.xxh3_128_hexdigest(data)
