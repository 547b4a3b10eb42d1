"""Plain text, light markup and source code: one document a file, kept as written.

Line ends become ``\\n``; nothing else is touched.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from dataflow.sources.compression import strip_suffix
from dataflow.sources.encodings import decode
from dataflow.sources.formats.suffixes import CODE, TEXT
from dataflow.sources.opened import Opened
from dataflow.sources.spec import Outcomes

_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+() -]*[A-Za-z0-9.+)])")
_SPDX_WITHIN = 4096
_CODING = re.compile(rb"^[ \t\f]*(?:#|/[/*]|;|\.?\\\"|').*?coding[:=][ \t]*([-\w.]+)")


def read(opened: Opened) -> Outcomes:
    """One record.

    Raises
    ------
    Refusal
        The file is empty, too large, binary, damaged, or in no encoding that could be found.
    """
    data = opened.whole()
    decoded = decode(data, declared_coding(data))
    name = strip_suffix(PurePosixPath(opened.item.uri).name.lower())
    suffix = PurePosixPath(name).suffix
    text = one_line_end(decoded.text)
    record = opened.one(text, data, TEXT.get(suffix, "text/plain"), decoded.encoding)
    if suffix in CODE and (match := _SPDX.search(text, 0, _SPDX_WITHIN)):
        record = replace(record, license=match[1].strip())
    if decoded.damaged:
        record = replace(record, metadata={"damaged": decoded.damaged})
    yield record


def one_line_end(text: str) -> str:
    """``text`` with ``\\n`` for every line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def declared_coding(data: bytes) -> str | None:
    """The encoding that one of the first two lines declares, as Python and Emacs read it."""
    for line in data[:1024].split(b"\n")[:2]:
        if match := _CODING.match(line):
            return match[1].decode("ascii", "replace").removesuffix("-unix").removesuffix("-dos")
    return None
