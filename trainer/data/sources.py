"""What was read of which source: documents' sources by number, kept beside a run's plans."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from dataflow.run import Run
from mixtures.arrays import create_array, map_array
from mixtures.documents import walk
from mixtures.piece import Piece

HEAD, CODES = "sources.json", "document_source"


class Sources:
    """The source of each document of a corpus, mapped from a file of 4 bytes a document.

    The file is written once, in a pass over the sources in the corpus's index; plans of the same
    corpus share it.

    Parameters
    ----------
    run : Run
    folder : where ``sources-ROOT/`` is, or is made.

    Attributes
    ----------
    names : tuple of str
        In the order in which the index has them.

    Raises
    ------
    TableError
        If a file of the run is not an index of this format.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        mine = folder / f"sources-{run.header['logical_root'][:16]}"
        if not (mine / HEAD).exists():
            _write(run, mine)
        head: dict[str, Any] = orjson.loads((mine / HEAD).read_bytes())
        self.names: tuple[str, ...] = tuple(head["names"])
        self._codes = map_array(mine, CODES, head["codes"])

    def shares(self, pieces: Iterable[Piece]) -> dict[str, float]:
        """What part of the tokens of ``pieces`` each source has; of no tokens, 0."""
        pairs = [(piece.document, piece.token_length) for piece in pieces]
        documents, tokens = np.array(pairs, np.int64).reshape(-1, 2).T
        codes: npt.NDArray[np.int64] = np.asarray(self._codes[documents], np.int64)
        found = np.bincount(codes, tokens, len(self.names)) / max(1, int(tokens.sum()))
        return dict(zip(self.names, found.tolist(), strict=True))


def _write(run: Run, folder: Path) -> None:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    number: dict[str, int] = {}
    with create_array(part, CODES, np.uint32) as codes:
        for shard in walk(run, ["source"]):
            encoded = shard.table["source"].combine_chunks().dictionary_encode()
            known = [number.setdefault(n, len(number)) for n in encoded.dictionary.to_pylist()]
            codes.add(np.array(known, np.uint32)[encoded.indices.to_numpy()])
    head = {"names": list(number), "codes": codes.describe()}
    (part / HEAD).write_bytes(orjson.dumps(head))
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
