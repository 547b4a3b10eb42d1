"""datatrove 0.10.1 on documents in memory: the rules and MinHash signatures of its FineWeb chain.

``words`` is ``own`` (spaCy, its default for English) or ``whitespace`` (``str.split``, with its own
regular expression for sentences). ``mode`` is ``all`` (every filter judges every document, as our
pass computes every signal) or ``chain`` (a document that a filter drops goes no further).
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import datatrove.utils.text as text_utilities  # type: ignore[import-not-found,unused-ignore]
import datatrove.utils.word_tokenizers as word_tokenizers  # type: ignore[import-not-found,unused-ignore]
from datatrove.data import Document  # type: ignore[import-not-found,unused-ignore]
from datatrove.pipeline.dedup.minhash import (  # type: ignore[import-not-found,unused-ignore]
    MinhashDedupSignature,
)
from datatrove.pipeline.filters import (  # type: ignore[import-not-found,unused-ignore]
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.logging import logger  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.protocol import serve


class SplitWords(word_tokenizers.WhitespaceTokenizer):  # type: ignore[misc,unused-ignore]
    """Words are what stands between white space."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


_OWN = word_tokenizers.load_word_tokenizer
_SPLIT = SplitWords()
_TEXTS: list[str] = []


def load(path: str) -> dict[str, Any]:
    """Read documents, one JSON object with ``text`` a line."""
    with Path(path).open(encoding="utf-8") as lines:
        _TEXTS[:] = [json.loads(line)["text"] for line in lines]
    return {"documents": len(_TEXTS), "bytes": sum(len(text.encode()) for text in _TEXTS)}


def judge(words: str, mode: str, limit: int | None = None) -> dict[str, Any]:
    """Time rules and signatures over the loaded documents."""
    word_tokenizers.load_word_tokenizer = (lambda _: _SPLIT) if words == "whitespace" else _OWN
    filters = [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ]
    kept = 0
    with tempfile.TemporaryDirectory() as folder:
        signer = MinhashDedupSignature(folder)
        signer.word_tokenizer = _SPLIT if words == "whitespace" else _OWN("eng_Latn")
        text_utilities.split_into_parts.cache_clear()
        start = time.perf_counter()
        for text in _TEXTS[:limit]:
            passed = True
            for rule in filters:
                # C4 rewrites the text of what it keeps; in `all` each filter sees the original.
                document = Document(text=text, id="")
                passed = rule.filter(document) is True and passed
                if mode == "chain":
                    if not passed:
                        break
                    text = document.text
            if passed or mode == "all":
                shingles = signer.get_shingles(text)
                if shingles.size:
                    signer.get_signature(shingles)
            kept += passed
        taken = time.perf_counter() - start
    return {"seconds": taken, "kept": kept}


if __name__ == "__main__":
    logger.remove()
    serve({"load": load, "judge": judge})
