"""Which reader a file needs: by its name where that says so, else by its first bytes."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from dataflow.sources.compression import strip_suffix
from dataflow.sources.formats import FORMATS
from dataflow.sources.refusal import Refusal

_BY_SUFFIX = {suffix: name for name, fmt in FORMATS.items() for suffix in fmt.suffixes}
HEAD_BYTES = 4096
_MAN_PAGE = re.compile(r"(^|/)man[0-9n][a-z]*/[^/]+$")
_HTML = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.I | re.S)
_MAGIC = (
    (b"WARC/", "warc"),
    (b"filedesc://", "warc"),
    (b"%PDF-", "pdf"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
)
_OTHER = (
    (b"\x89PNG", "image/png"),
    (b"GIF8", "image/gif"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"RIFF", "RIFF media"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"wOF", "font/woff"),
    (b"PK\3\4", "application/zip"),
    (b"\x7fELF", "application/x-elf"),
    (b"!<arch>", "application/x-archive"),
    (b"\xca\xfe\xba\xbe", "application/java-vm"),
    (b"SQLite format 3", "application/vnd.sqlite3"),
)
"""Common files that are no text, known by their first bytes."""


def by_name(uri: str) -> str | None:
    """The format that a file's name announces."""
    name = strip_suffix(PurePosixPath(uri).name.lower())
    if _MAN_PAGE.search(uri):
        return "man"
    suffix = PurePosixPath(name).suffix
    if len(suffix) == 2 and suffix[1].isdigit():
        return None  # notes.1 or lib.so.6: a man page only inside a man folder, else by content
    return _BY_SUFFIX.get(suffix)


def by_content(head: bytes) -> str:
    """The format of a file of unknown name, from its first ``HEAD_BYTES``; ``text`` if none.

    Raises
    ------
    Refusal
        ``media-type`` for a kind of file that holds no text.
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    for magic, media_type in _OTHER:
        if head.startswith(magic):
            raise Refusal("media-type", media_type)
    if head.count(b"\0") > 4 and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refusal("media-type", "bytes that are no text")
    if _HTML.match(head):
        return "html"
    if re.match(rb"(['.]\\\".*\n|\.\s*\n)*\.(TH|Dd)\s", head):
        return "man"
    return "text"
