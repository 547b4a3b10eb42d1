"""Tokenizers: trained or taken into use, named by a content hash, kept in a folder of their own."""

from dataflow.tokenizer.adopting import use
from dataflow.tokenizer.definition import Definition
from dataflow.tokenizer.errors import TokenizerError, TokenizerMismatch
from dataflow.tokenizer.pattern import PATTERN
from dataflow.tokenizer.specials import RESERVED, SPECIALS
from dataflow.tokenizer.tokenizer import Tokenizer
from dataflow.tokenizer.training import train

__all__ = [
    "PATTERN",
    "RESERVED",
    "SPECIALS",
    "Definition",
    "Tokenizer",
    "TokenizerError",
    "TokenizerMismatch",
    "train",
    "use",
]
