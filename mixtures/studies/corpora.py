"""The corpora of a study: found, built or written again in another tokenizer's tokens."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from dataflow.recipe.problems import Problem, RecipeError
from dataflow.recipe.yaml_tree import parse
from mixtures.studies.asking import ask
from mixtures.studies.errors import StudyError
from mixtures.studies.keys import corpus_identity, run_key
from mixtures.studies.recipe import CorpusOf

RUNS = Path("runs")


@dataclass(frozen=True)
class Corpus:
    """A finished run: where it is, its logical root, the hash of its tokenizer, and the root of
    its tiers where it has any."""

    uri: str
    root: str
    tokenizer: str
    tiers: str | None = None


class Corpora:
    """Resolves what a study says of corpora, each once.

    Parameters
    ----------
    folder : where copies with other tokenizers are made
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[CorpusOf, Corpus] = {}

    def of(self, asked: CorpusOf) -> Corpus:
        """The corpus. A recipe's is built, or brought up to date; a run is taken as it is.

        Raises
        ------
        RecipeError
            If a recipe cannot be read.
        StudyError
            If a build fails.
        RunError
            If a folder is no finished run.
        """
        if asked not in self._known:
            uri = asked.run if asked.run is not None else self._built(Path(str(asked.recipe)))
            if asked.tokenizer is not None:
                uri = self._retokenized(uri, asked.tokenizer)
            found = corpus_identity(uri)
            self._known[asked] = Corpus(uri, **found)
        return self._known[asked]

    def _built(self, recipe: Path) -> str:
        if not recipe.is_file():
            raise RecipeError([Problem(str(recipe), 0, 0, "", "no such file", "a corpus' recipe")])
        tree = parse(str(recipe), recipe.read_bytes())
        name = tree.data.get("name") if isinstance(tree.data, dict) else None
        out = RUNS / (name if isinstance(name, str) else recipe.stem)
        # What is built already is known by its keys: seconds, and a changed recipe is noticed.
        ask("dataflow", ("build", str(recipe), "--out", str(out)), f"building {recipe}")
        return str(out)

    def _retokenized(self, uri: str, tokenizer: str) -> str:
        if "://" in uri:
            raise StudyError(
                f"corpus {uri}: found a tokenizer beside a corpus that is not on this machine, "
                "expected one of the two; write its tokens there by `python -m dataflow retokenize`"
            )
        name = run_key([corpus_identity(uri), str(Path(tokenizer).resolve())])
        out = self._folder / f"{Path(uri).name}-{name}"
        if not out.is_dir():
            part = out.with_name(out.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(uri, part)
            ask(
                "dataflow", ("retokenize", str(part), "--tokenizer", tokenizer),
                f"writing {uri} in tokens of {tokenizer}",
            )  # fmt: skip
            part.replace(out)
        return str(out)
