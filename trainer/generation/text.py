"""Text out of tokens as they come, in whole characters."""

from __future__ import annotations

import codecs

from dataflow.tokenizer import Tokenizer

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """Tokens of one text in, whole characters out.

    A token may hold a part of a character's bytes: they are held back until the rest comes. What is
    no UTF-8, and what is left at the end, becomes U+FFFD. Ids beyond the tokenizer's entries (an
    embedding may have more rows) have no text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")
        # Only tiktoken's tokens have bytes of their own; with `tokenizers` a text is decoded whole.
        self._whole = tokenizer.backend != "tiktoken"
        self._ids: list[int] = []
        self._given = 0

    def push(self, token: int) -> str:
        """The characters that are whole with this token."""
        if token >= self._tokenizer.vocab_size:
            return ""
        if not self._whole:
            return self._bytes.decode(self._tokenizer.decode([token]))
        self._ids.append(token)
        text = self._text()
        # Replacements at the end may be a character that is not whole yet.
        return self._from(text.rstrip(_REPLACEMENT))

    def end(self) -> str:
        """What was held back."""
        return self._from(self._text()) if self._whole else self._bytes.decode(b"", final=True)

    def _text(self) -> str:
        return self._tokenizer.decode(self._ids).decode()

    def _from(self, text: str) -> str:
        new = text[self._given :]
        self._given = max(self._given, len(text))
        return new
