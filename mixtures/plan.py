"""Plans: the packed sequences of a stage, compiled once, then read at any place at once.

A plan is a folder of plain arrays (``NAME.bin``: little-endian numbers, one after the other) and a
head, ``plan.json``:

``sequence_component``, ``sequence_ordinal`` : of each sequence, its component, and how many
    sequences of that component come before it
``sequence_first`` : of each sequence, the stream entry that its first token lies in
``component_sequence`` : the numbers of the sequences, component after component
``stream_document``, ``stream_start`` : the components' documents laid end to end, epoch after
    epoch: the document, and the token of the component's stream that it begins at
``document_offset``, ``document_tokens`` : of each document of the corpus, the byte of the token
    shard's tar that its ids begin at, and their count
``shard_start`` : of each shard of the corpus, the number of its first document; then the end

A document is named by its row in the run's index, shard after shard in the order of the run's
shards. Sequence j of a component is tokens ``j L`` to ``(j + 1) L`` of the component's stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from dataflow.run import Run
from dataflow.store import Store
from mixtures.arrays import check_array, map_array
from mixtures.compiling import ARRAYS, FORMAT, HEAD, VERSION, compile_plan, head_hash
from mixtures.errors import PlanError, PlanRefused
from mixtures.spec import Component, LateMixture, PlanSpec, Transition

__all__ = [
    "Component",
    "LateMixture",
    "Piece",
    "Plan",
    "PlanError",
    "PlanRefused",
    "PlanSpec",
    "Transition",
]

_SCAN = 1 << 22


class Piece(NamedTuple):
    """A stretch of one document's tokens in a packed sequence: one segment of ``cu_seqlens``."""

    document: int
    token_start: int
    token_length: int


class Plan:
    """A compiled plan; ``plan[i]`` is the i-th packed sequence, always of ``length`` tokens.

    Attributes
    ----------
    folder : Path
    spec : PlanSpec
    length : int
        L.
    hash : str
        Of the head and, through it, of every byte of the arrays.
    corpus, tokenizer : str
        The logical root of the run, and the hash of its tokenizer.
    components : tuple of str
        Their names, in the order of their numbers.
    """

    def __init__(self, folder: Path, head: dict[str, Any]) -> None:
        self.folder = folder
        self.spec = PlanSpec.model_validate(head["spec"])
        self.length = self.spec.length
        self.hash: str = head["hash"]
        self.corpus: str = head["corpus"]
        self.tokenizer: str = head["tokenizer"]
        self.components: tuple[str, ...] = tuple(c["name"] for c in head["components"])
        self._head = head
        arrays = {name: map_array(folder, name, head["arrays"][name]) for name in ARRAYS}
        self._component = arrays["sequence_component"]
        self._ordinal = arrays["sequence_ordinal"]
        self._first = arrays["sequence_first"]
        self._of_component = arrays["component_sequence"]
        self._laid = arrays["stream_document"]
        self._laid_at = arrays["stream_start"]
        self._offset = arrays["document_offset"]
        self._tokens = arrays["document_tokens"]
        # Small, and asked for with every piece.
        self._shard_start = np.array(arrays["shard_start"])
        self._streams = np.array([c["start"] for c in head["components"]], np.int64)
        drawn = [c["drawn"] // self.length for c in head["components"]]
        self._sequences_before = np.concatenate([[0], np.cumsum(drawn)])

    @classmethod
    def compile(cls, corpus: Path | str | Store, spec: PlanSpec, out: Path) -> Plan:
        """Compile the plan of ``spec`` over a run, or open it where it was compiled before.

        Memory does not grow with the corpus, besides 20 bytes a sequence; disk: 16 bytes a
        document of the corpus, 16 a document laid, 26 a sequence.

        Parameters
        ----------
        corpus : a run folder, its uri, or its store
        spec : what is asked for
        out : a local folder; the plan is ``out/plan-KEY``

        Raises
        ------
        PlanRefused
            If the corpus cannot give what is asked for; says what it can give.
        RunError, TableError
            If ``corpus`` is no finished run of this format.
        """
        store = corpus if isinstance(corpus, Store) else Store(str(corpus))
        return cls.open(compile_plan(Run.load(store), spec, Path(out)))

    @classmethod
    def open(cls, folder: Path) -> Plan:
        """Open a plan's folder.

        Raises
        ------
        PlanError
            If it is no whole plan of this format.
        """
        path = Path(folder) / HEAD
        again = "compile the plan again"
        try:
            head = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            raise PlanError(
                f"{path}: found no such file, expected a plan's head; {again}"
            ) from None
        except orjson.JSONDecodeError as error:
            raise PlanError(f"{path}: not a plan's head ({error}); {again}") from None
        found = (head.get("format"), head.get("version")) if isinstance(head, dict) else None
        if found != (FORMAT, VERSION):
            raise PlanError(f"{path}: found {found}, expected {(FORMAT, VERSION)}; {again}")
        if head_hash(head) != head["hash"]:
            raise PlanError(f"{path}: the head does not have the hash that it names; {again}")
        return cls(Path(folder), head)

    def verify(self) -> None:
        """Read all arrays and compare them with their hashes.

        Raises
        ------
        PlanError
            Naming the file that is not what was compiled.
        """
        for name, entry in self._head["arrays"].items():
            check_array(self.folder, name, entry)

    def __len__(self) -> int:
        return len(self._component)

    def __getitem__(self, i: int) -> list[Piece]:
        """The pieces of sequence ``i`` in order; their lengths sum to ``length``.

        Raises
        ------
        IndexError
            If there is no such sequence.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"found sequence {i}, expected 0 to {len(self) - 1}")
        entry = int(self._first[i])
        start = int(self._ordinal[i]) * self.length - int(self._laid_at[entry])
        left = self.length
        pieces = []
        while left:
            document = int(self._laid[entry])
            taken = min(left, int(self._tokens[document]) - start)
            pieces.append(Piece(document, start, taken))
            left -= taken
            start = 0
            entry += 1
        return pieces

    def __iter__(self) -> Iterator[list[Piece]]:
        return (self[i] for i in range(len(self)))

    def component(self, i: int) -> str:
        """The name of the component that sequence ``i`` is drawn from."""
        return self.components[int(self._component[i])]

    def inverse(self, document: int) -> list[tuple[int, Piece]]:
        """In which sequences a document lies, ascending, and which piece of it lies there.

        Computed by a pass over the stream: it takes time in proportion to the documents laid.
        """
        found: list[tuple[int, Piece]] = []
        for low in range(0, len(self._laid), _SCAN):
            hits = np.flatnonzero(self._laid[low : low + _SCAN] == document)
            for entry in (hits + low).tolist():
                found += self._places(document, entry)
        return sorted(found)

    def _places(self, document: int, entry: int) -> Iterator[tuple[int, Piece]]:
        """The sequences over which a stream entry stretches."""
        component = int(np.searchsorted(self._streams, entry, side="right")) - 1
        first, end = self._sequences_before[component : component + 2].tolist()
        begin = int(self._laid_at[entry])
        stop = begin + int(self._tokens[document])
        for j in range(begin // self.length, min(-(-stop // self.length), end - first)):
            low, high = max(begin, j * self.length), min(stop, (j + 1) * self.length)
            yield int(self._of_component[first + j]), Piece(document, low - begin, high - low)

    @property
    def documents(self) -> int:
        """How many documents the corpus has: numbers are below."""
        return len(self._tokens)

    def tokens(self, documents: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """How many tokens documents have, the end of document counted."""
        found: npt.NDArray[np.int64] = np.asarray(self._tokens[np.asarray(documents, np.int64)])
        return found

    def places(
        self, documents: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where documents lie: the number of their shard, and the byte of its tar that their ids
        begin at."""
        numbers = np.asarray(documents, np.int64)
        shards = np.searchsorted(self._shard_start, numbers, side="right") - 1
        return shards.astype(np.int64), np.asarray(self._offset[numbers])
