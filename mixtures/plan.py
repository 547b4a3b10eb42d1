"""Plans: the packed sequences of a stage, compiled once, then read at any place at once.

A plan is a folder of plain arrays (``NAME.bin``: little-endian numbers, one after the other) and a
head, ``plan.json``:

``sequence_component``, ``sequence_ordinal`` : of each sequence, its component, and how many
    sequences of that component come before it
``component_sequence`` : the numbers of the sequences, component after component
``document_offset``, ``document_tokens`` : of each document of the corpus, the byte of the token
    shard's tar that its ids begin at, and their count
``shard_start`` : of each shard of the corpus, the number of its first document; then the end

With packing ``stream`` sequence j of a component is tokens ``j L`` to ``(j + 1) L`` of the
component's stream:

``sequence_first`` : of each sequence, the stream entry that its first token lies in
``stream_document``, ``stream_start`` : the components' documents laid end to end, epoch after
    epoch: the document, and the token of the component's stream that it begins at

With packing ``whole`` a sequence is a list of pieces, each a document or, of one longer than L, at
most L tokens of it; what they leave of L is padding:

``packed_first`` : of each sequence, in the order of ``component_sequence``, the number of its first
    piece; then the end
``piece_document``, ``piece_start`` : of each piece the document, and its token that it begins at
``document_length`` : with a tiling, of each document its tokens with the features of its images,
    in which pieces are counted

A document is named by its row in the run's index, shard after shard in the order of the run's
shards.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from dataflow.run import Run
from dataflow.store import Store
from mixtures.arrays import advise, check_array, map_array
from mixtures.compiling import (
    FORMAT,
    HEAD,
    STREAM_ARRAYS,
    VERSIONS,
    compile_plan,
    head_hash,
)
from mixtures.errors import PlanError, PlanRefused
from mixtures.layouts import Layout, StreamLayout, WholeLayout
from mixtures.piece import Piece
from mixtures.planning import asked_for
from mixtures.recipe import MixtureRecipe
from mixtures.rows import document_number
from mixtures.spec import Component, LateMixture, PlanSpec, Transition
from mixtures.whole import EXPANDED_ARRAYS, WHOLE_ARRAYS

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

PLANS = Path("runs/plans")


class Plan:
    """A compiled plan; ``plan[i]`` is the i-th packed sequence of ``length`` tokens.

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
    fill : float
        The share of the plan's tokens that are no padding.
    """

    def __init__(self, folder: Path, head: dict[str, Any], run: Run | None = None) -> None:
        self.folder = folder
        self._run = run
        self.spec = PlanSpec.model_validate(head["spec"])
        self.length = self.spec.length
        self.hash: str = head["hash"]
        self.corpus: str = head["corpus"]
        self.tokenizer: str = head["tokenizer"]
        self.components: tuple[str, ...] = tuple(c["name"] for c in head["components"])
        self.fill: float = head.get("fill", 1.0)
        self._head = head
        names = list(STREAM_ARRAYS)
        if self.spec.packing == "whole":
            names = [*WHOLE_ARRAYS, *(EXPANDED_ARRAYS if self.spec.tiling is not None else ())]
        arrays = {name: map_array(folder, name, head["arrays"][name]) for name in names}
        for array in arrays.values():
            # A sequence is a few entries of each: what a system reads ahead is read for nothing.
            advise(array, mmap.MADV_RANDOM)
        self._component = arrays["sequence_component"]
        self._offset = arrays["document_offset"]
        self._tokens = arrays["document_tokens"]
        self._lengths = arrays.get("document_length", self._tokens)
        # Small, and asked for with every piece.
        self._shard_start = np.array(arrays["shard_start"])
        layout = StreamLayout if self.spec.packing == "stream" else WholeLayout
        self._layout: Layout = layout(arrays, head["components"], self.length)

    @classmethod
    def compile(
        cls,
        run: Path | str | Store,
        stage: PlanSpec | str,
        mixture: MixtureRecipe | Path | str | None = None,
        seed: int | None = None,
        *,
        out: Path = PLANS,
    ) -> Plan:
        """Compile the plan of a stage over a run, or open it where it was compiled before.

        Memory does not grow with the corpus, besides 60 bytes a sequence, packed whole 110; disk:
        16 bytes a document of the corpus, 16 a document laid, 26 a sequence. While it is compiled,
        40 bytes of disk for each document that may be laid, packed whole 16 more; and 41 bytes a
        document of the corpus where signals choose documents, or clusters say how often.

        Parameters
        ----------
        run : a run folder, its uri, or its store
        stage : what is asked for; or a stage of the trainer, by its name or file, as it is unscaled
        mixture : what documents are drawn by, or the name or file of one; None: as ``stage`` says
        seed : of the order of documents, 0 to 2**64 - 1; None: that of ``stage``
        out : a local folder; the plan is ``out/plan-KEY``

        Raises
        ------
        PlanRefused
            If the corpus cannot give what is asked for; says what it can give, and the nearest
            mixture.
        RecipeError
            If the mixture's file is wrong.
        RunError, TableError
            If ``run`` is no finished run of this format.
        """
        opened = _load(run)
        spec = asked_for(opened, stage, mixture, seed)
        return cls._open(compile_plan(opened, spec, Path(out)), opened)

    @classmethod
    def open(cls, folder: Path, corpus: Path | str | Store | None = None) -> Plan:
        """Open a plan's folder.

        Parameters
        ----------
        folder : that `compile` made
        corpus : the run it is of, where documents are to be asked for by their ids

        Raises
        ------
        PlanError
            If it is no whole plan of this format, or of another corpus.
        """
        run = None if corpus is None else _load(corpus)
        plan = cls._open(folder, run)
        if run is not None and run.header["logical_root"] != plan.corpus:
            raise PlanError(
                f"{plan.folder}: found a plan of the corpus {plan.corpus[:16]}…, expected of "
                f"{run.header['logical_root'][:16]}…, which is {run.store.uri}; compile it again"
            )
        return plan

    @classmethod
    def _open(cls, folder: Path, run: Run | None) -> Plan:
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
        expected = [(FORMAT, version) for version in VERSIONS.values()]
        if found not in expected:
            listed = " or ".join(map(str, expected))
            raise PlanError(f"{path}: found {found}, expected {listed}; {again}")
        if head_hash(head) != head["hash"]:
            raise PlanError(f"{path}: the head does not have the hash that it names; {again}")
        return cls(Path(folder), head, run)

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
        """The pieces of sequence ``i`` in order; their lengths sum to ``length``, or where
        documents are packed whole to less: the rest is padding.

        Raises
        ------
        IndexError
            If there is no such sequence.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"found sequence {i}, expected 0 to {len(self) - 1}")
        return self._layout.pieces(i)

    def __iter__(self) -> Iterator[list[Piece]]:
        return (self[i] for i in range(len(self)))

    @property
    def summary(self) -> list[dict[str, Any]]:
        """The head's account of each component: its documents and tokens in the corpus and the
        tokens ``drawn``. Where documents are packed whole also those left out (they have images and
        are longer than L), and as shares of places ``fill``, of the sequences drawn, and
        ``packed_fill`` and ``best_fill``, of all that were packed, and at most of such lengths."""
        return [dict(component) for component in self._head["components"]]

    def component(self, i: int) -> str:
        """The name of the component that sequence ``i`` is drawn from."""
        return self.components[int(self._component[i])]

    def inverse(self, document: int) -> list[tuple[int, Piece]]:
        """In which sequences a document lies, ascending, and which piece of it lies there.

        Computed by a pass over the stream: it takes time in proportion to the documents laid.
        """
        return sorted(self._layout.inverse(document))

    def sequences_of(self, doc_id: str | bytes) -> list[int]:
        """The numbers of the sequences that a document lies in, ascending, each once; none where
        the run dropped it, or this plan does not read it. Takes as long as `inverse`.

        Parameters
        ----------
        doc_id : 32 hexadecimal digits, or their 16 bytes

        Raises
        ------
        PlanError
            If the corpus has no such document, or the plan was opened without its corpus.
        """
        if self._run is None:
            raise PlanError(
                f"{self.folder}: the plan was opened without its corpus, which says where a "
                "document lies; open it with `Plan.open(folder, corpus)`"
            )
        number = document_number(self._run, doc_id)
        return [] if number is None else sorted({i for i, _ in self.inverse(number)})

    @property
    def documents(self) -> int:
        """How many documents the corpus has: numbers are below."""
        return len(self._tokens)

    def tokens(self, documents: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """How many tokens documents have in their shards, the end of document counted."""
        found: npt.NDArray[np.int64] = np.asarray(self._tokens[np.asarray(documents, np.int64)])
        return found

    def lengths(self, documents: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """How many tokens documents have for a model, in which pieces are counted: as `tokens`,
        with the features of its images in the place of one token each."""
        found: npt.NDArray[np.int64] = np.asarray(self._lengths[np.asarray(documents, np.int64)])
        return found

    def first_document(self, shard: int) -> int:
        """The number of the first document of a shard."""
        return int(self._shard_start[shard])

    def places(
        self, documents: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where documents lie: the number of their shard, and the byte of its tar that their ids
        begin at."""
        numbers = np.asarray(documents, np.int64)
        shards = np.searchsorted(self._shard_start, numbers, side="right") - 1
        return shards.astype(np.int64), np.asarray(self._offset[numbers])


def _load(corpus: Path | str | Store) -> Run:
    return Run.load(corpus if isinstance(corpus, Store) else Store(str(corpus)))
