"""Which bytes of a text each of its tokens holds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataflow.tokenizer.errors import TokenizerError
from dataflow.tokenizer.tokenizer import Ids, Tokenizer

Places = npt.NDArray[np.int64]


def token_places(tokenizer: Tokenizer, text: str, ids: Ids) -> Places:
    """Where the tokens of a text begin and end in its UTF-8.

    Parameters
    ----------
    tokenizer : what gave ``ids``
    text : str
    ids : uint32[n], of ``tokenizer.encode(text)``

    Returns
    -------
    int64[n, 2]. A tokenizer that only ``tokenizers`` can run tells characters: a token that holds a
    part of one is said to hold all of it.

    Raises
    ------
    TokenizerError
        If the tokens do not hold the bytes of the text one after the other.
    """
    if tokenizer.definition is None:
        encoding = tokenizer.reference.encode(text, add_special_tokens=False)
        begins = np.zeros(len(text) + 1, np.int64)
        np.cumsum([len(character.encode()) for character in text], out=begins[1:])
        return begins[np.asarray(encoding.offsets, np.int64).reshape(-1, 2)]
    ends = np.cumsum(tokenizer.token_bytes[ids])
    size = len(text.encode())
    if (int(ends[-1]) if len(ends) else 0) != size:
        raise TokenizerError(
            f"tokenizer {tokenizer.hash}: its tokens hold {int(ends[-1]) if len(ends) else 0} "
            f"bytes of a text of {size}; a loss span cannot be placed in it"
        )
    return np.stack([np.concatenate([[0], ends[:-1]]) if len(ends) else ends, ends], axis=1)
