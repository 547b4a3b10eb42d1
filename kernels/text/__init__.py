"""The compiled pass over text: words, the signals of every rule, MinHash, and spans to remove.

Every function here takes the two buffers of an Arrow string array: ``data`` uint8[bytes] in UTF-8
and ``offsets`` int64[documents + 1]. :func:`buffers_of` gets them from a pyarrow array.
"""

from kernels.text.buffers import buffers_of
from kernels.text.fused import ScanResult, scan
from kernels.text.minhash import MinHashParams, minhash_params
from kernels.text.removals import c4_line_spans, control_spans
from kernels.text.word_lists import word_hashes, words

__all__ = [
    "MinHashParams",
    "ScanResult",
    "buffers_of",
    "c4_line_spans",
    "control_spans",
    "minhash_params",
    "scan",
    "word_hashes",
    "words",
]
