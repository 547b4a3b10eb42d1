"""What can be wrong with a tokenizer."""

from __future__ import annotations


class TokenizerError(ValueError):
    """A tokenizer cannot be read, trained or used as asked."""


class TokenizerMismatch(TokenizerError):
    """Token ids of one tokenizer meet another tokenizer.

    Parameters
    ----------
    found, expected : str
        The hashes of the two tokenizers.
    where : str
        What holds the ids of ``found``: a shard, an index, a checkpoint.
    run : str
        The run folder to name in the advice.
    """

    def __init__(self, found: str, expected: str, where: str, run: str = "RUN") -> None:
        super().__init__(
            f"{where}: its token ids are of tokenizer {found}, expected {expected}; make the other "
            f"token set with `python -m dataflow retokenize {run} --tokenizer FOLDER`, where "
            f"FOLDER holds tokenizer {expected}"
        )
        self.found = found
        self.expected = expected
