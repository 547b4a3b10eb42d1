"""Documents judged by a checkpoint of the project's own trainer: by likelihood of answers.

MiniMax-01's labeler is the lab's model of the generation before (arXiv:2501.08313, section 4.1.1);
how its scores are read off is not published. Here each dimension has a prompt, and the score is the
mean of the answers 0 to 5 under their calibrated likelihoods (``calibration``), so that a model
that writes no good sentence may still rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from quality.endpoint.ask import Tally, Watch
from quality.reward.labeler.calibration import best_name, expected_score
from quality.reward.labeler.documents import Document, Documents
from quality.reward.labeler.errors import LabelerFailed
from quality.reward.labeler.excerpts import excerpt
from quality.reward.labeler.obedience import Ordered
from quality.reward.labeler.process import TRAINER, run_likelihood
from quality.reward.labeler.prompts import (
    CATEGORY,
    DIMENSIONS,
    NAMES,
    NOTHING,
    Asked,
    ask_of,
    version,
)
from quality.reward.labeler.ratings import EMPTY, TOO_LONG, Rating, Scores
from quality.reward.labeler.rubric import RUBRIC
from quality.reward.labels import CATEGORIES, SCORES

Logs = Sequence[float]

LIKELIHOODS = "likelihoods.jsonl"
LEAST_CHARACTERS = 48
"""Of an excerpt: less says nothing of a document."""
_CAUTION = 0.95
"""Of the room that is left: tokens are not spread evenly over characters."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Log-probabilities of the continuations, or None with what a refusal says."""

    logs: tuple[float, ...] | None
    tokens: int
    refused: str = ""


@dataclass
class CheckpointLabeler:
    """Judges documents by a model in a folder, in a process of ``python -m trainer likelihood``.

    Parameters
    ----------
    folder : for all raw likelihoods (``likelihoods.jsonl``) and, while it works, the requests
    checkpoint : the folder of a training run or of an exported model
    characters : of a document that are read, at most; less where the model reads less
    options : further ones of the command, such as ``--device cpu``
    command : of the trainer
    """

    folder: Path
    checkpoint: Path
    characters: int
    options: Sequence[str] = ()
    command: Sequence[str] = TRAINER
    watch: Watch | None = None
    tally: Tally | None = field(default=None, init=False)
    model: Mapping[str, Any] | None = field(default=None, init=False)

    @property
    def rater(self) -> str:
        """Name, stage, step and weights of the model; known after ``label``."""
        assert self.model is not None, "known after label"
        model = self.model
        place = "" if model["step"] is None else f" {model['stage']} step {model['step']}"
        return f"{model['name']}{place} {model['weights'][:16]}"

    @property
    def scorer(self) -> str:
        """Who made the scores: the model, the version of what it was asked by, how much it saw."""
        assert self.model is not None, "known after label"
        seen = f"characters-{self.characters} tokens-{self.model['longest']}"
        return f"{self.rater} rubric-{RUBRIC}.{version()} {seen}"

    def label(self, documents: Documents | Ordered | Sequence[Document]) -> list[Rating]:
        """Judge documents, in their order. They are gone through several times.

        An excerpt that the model does not read is shortened, for all dimensions alike, until it is
        read.

        Raises
        ------
        LabelerFailed
            If the process fails, or the model does not even read the rubric.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        requests = self.folder / "requests.unfinished"
        answers = self.folder / LIKELIHOODS
        lengths: dict[bytes, int] = {}
        changed: set[bytes] | None = None
        kept = asked = 0
        try:
            # Also where nothing is new: the process compares the model with that of the answers.
            while changed is None or changed:
                wanted = self._requests(documents, lengths, changed)
                new, old = _write(requests, wanted, _read(answers)[1])
                kept += old
                if new or changed is None:
                    self._run(requests, answers, asked, kept, asked + new)
                asked += new
                self.model, known = _read(answers)
                changed = self._shorten(documents, lengths, known, changed)
        finally:
            requests.unlink(missing_ok=True)
        found = [self._rating(document, lengths, known) for document in documents]
        failed = sum(rating.scores is None for rating in found)
        self.tally = Tally(kept + asked, asked, kept, failed, 0, 0, 0, 0, 0.0)
        return found

    def _run(self, requests: Path, answers: Path, before: int, kept: int, total: int) -> None:
        def watch(gained: int) -> None:
            if self.watch is not None:
                asked = min(total, before + gained)
                self.watch(Tally(asked + kept, asked, kept, 0, 0, 0, 0, 0, 0.0))

        words = [str(self.checkpoint), "--requests", str(requests), *self.options]
        run_likelihood(words, answers, watch, self.command)

    def _requests(
        self,
        documents: Iterable[Document],
        lengths: Mapping[bytes, int],
        changed: Set[bytes] | None,
    ) -> Iterator[tuple[str, Asked]]:
        """Requests by their ids: at first (None) of an empty document, by which others are read,
        and of all; then of those that have become shorter."""
        if changed is None:
            for dimension in DIMENSIONS:
                yield _empty(dimension)
        for document in documents:
            if changed is None or document.about.content_id in changed:
                yield from self._of(document, lengths)

    def _of(self, document: Document, lengths: Mapping[bytes, int]) -> Iterator[tuple[str, Asked]]:
        """The requests of a document; none of one without text, or whose room is too small."""
        most = lengths.get(document.about.content_id, self.characters)
        if document.about.empty or most < LEAST_CHARACTERS:
            return
        parts = excerpt(document.text, most)
        for dimension in DIMENSIONS:
            asked = ask_of(dimension, parts, len(document.text))
            yield f"{document.about.content_id.hex()}.{dimension}.{asked.key}", asked

    def _shorten(
        self,
        documents: Iterable[Document],
        lengths: dict[bytes, int],
        known: Mapping[str, Answer],
        asked: Set[bytes] | None,
    ) -> set[bytes]:
        """Shorten excerpts, of those that were asked about, that were too long; which they are."""
        assert self.model is not None, "the process has run"
        rubric = 0
        for dimension in DIMENSIONS:
            nothing = known[_empty(dimension)[0]]
            rubric = max(rubric, nothing.tokens)
            if nothing.logs is None:
                raise LabelerFailed(
                    f"{self.checkpoint}: the model does not read what the rubric says of "
                    f"{dimension}: {nothing.refused}"
                )
        changed = set()
        for document in documents:
            about = document.about
            if asked is not None and about.content_id not in asked:
                continue
            answers = [known[name] for name, _ in self._of(document, lengths)]
            refused = [answer.tokens for answer in answers if answer.logs is None]
            if refused:
                # The rubric's tokens stay, so that the document gives up more than its part.
                room = int(self.model["longest"]) - rubric
                share = room / max(1, max(refused) - rubric)
                most = min(lengths.get(about.content_id, self.characters), about.characters)
                lengths[about.content_id] = min(most * 3 // 4, int(most * share * _CAUTION))
                changed.add(about.content_id)
        return changed

    def _rating(
        self, document: Document, lengths: Mapping[bytes, int], known: Mapping[str, Answer]
    ) -> Rating:
        about = document.about
        if about.empty:
            return Rating(about, None, EMPTY, "found no text, expected some")
        logs: dict[str, Logs] = {}
        for name, _ in self._of(document, lengths):
            if (found := known[name].logs) is None:
                return Rating(about, None, TOO_LONG, known[name].refused)
            logs[name.split(".")[1]] = found
        if not logs:
            return Rating(
                about, None, TOO_LONG,
                f"found no room for {LEAST_CHARACTERS} characters beside the rubric, expected a "
                "model of a longer context",
            )  # fmt: skip
        empty: dict[str, Logs] = {}
        for dimension in DIMENSIONS:
            nothing = known[_empty(dimension)[0]].logs
            assert nothing is not None, "a model that does not read the rubric is refused"
            empty[dimension] = nothing
        depth, helpfulness, coherence = (expected_score(logs[n], empty[n]) for n in SCORES)
        best = best_name(NAMES, logs[CATEGORY], empty[CATEGORY])
        scores = Scores(
            depth,
            helpfulness,
            coherence,
            CATEGORIES[NAMES.index(best)],
            f"by likelihood: depth {depth:.2f}, helpfulness {helpfulness:.2f}, coherence "
            f"{coherence:.2f}",
        )
        return Rating(about, scores)


def _empty(dimension: str) -> tuple[str, Asked]:
    asked = ask_of(dimension, NOTHING, 0)
    return f"empty.{dimension}.{asked.key}", asked


def _write(
    path: Path, requests: Iterable[tuple[str, Asked]], known: Mapping[str, Answer]
) -> tuple[int, int]:
    """Write requests, answered ones too: they share batches with others. How many are new, and
    how many are not."""
    new = old = 0
    with path.open("wb") as file:
        for name, asked in requests:
            row = {"id": name, "context": asked.context, "continuations": asked.continuations}
            file.write(orjson.dumps(row) + b"\n")
            new += name not in known
            old += name in known
    return new, old


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Answer]]:
    """The model and the answers of a file by their ids; nothing where there is none.

    A last line that is not finished is left out: the trainer cuts it off and answers anew.

    Raises
    ------
    LabelerFailed
        Naming a line that is no answer.
    """
    model: dict[str, Any] = {}
    found: dict[str, Answer] = {}
    if not path.exists():
        return model, found
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = orjson.loads(line)
                if number == 1:
                    model = row["model"]
                    continue
                logs = row.get("log_probabilities")
                found[row["id"]] = Answer(
                    None if logs is None else tuple(map(float, logs)),
                    int(row["tokens"]),
                    str(row.get("refused", "")),
                )
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                raise LabelerFailed(
                    f"{path}: line {number}: found {line[:40]!r}…, expected an answer of "
                    "`python -m trainer likelihood`; delete the line or choose another folder"
                ) from error
    return model, found
