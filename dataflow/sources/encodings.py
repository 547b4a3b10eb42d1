"""Bytes to text: encodings are found, never assumed.

In this order: a byte-order mark; strict UTF-8, because text of another encoding is almost never
valid UTF-8 while pages often declare another one wrongly; the declared encoding where every byte
decodes; uchardet (through resiliparse) and charset-normalizer on at most 128 KiB; UTF-8 with few
damaged places, each replaced by U+FFFD and counted. What is found must decode the whole text
without an error. Labels mean what browsers make of them (WHATWG Encoding Standard, section 4.2:
``iso-8859-1`` is windows-1252, ``gb2312`` is gb18030).
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from charset_normalizer import from_bytes
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from dataflow.sources.refusal import Refusal

SAMPLE_BYTES = 1 << 17
"""What detectors look at: half from each end."""
MAX_DAMAGE = 1000
"""UTF-8 may have one undecodable place in so many bytes."""
MAX_NULS = 1000
"""More than one NUL in so many bytes is binary data; a stray one is kept in the text."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SEVEN_BIT = re.compile(rb"\x1b[$(]|~\{")
_META = re.compile(
    rb"<meta\b[^>]{0,400}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)|"
    rb"<\?xml\b[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_.:-]+)",
    re.IGNORECASE,
)
_DOS = re.compile(r"^(cp(4|7|8)\d\d|hp_roman8|mac_.*|ptcp154|cp1006|cp1125|kz1048|cp1258)$")
"""Encodings that statistics like to find and that hardly any document of the web era is in."""
_UNUSED = {"iso8859_16": "iso8859-2"}
"""Romanian was written in ISO 8859-2 or UTF-8; ISO 8859-16 came too late to be used."""

_SUPERSETS = {
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-11": "cp874",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
}
"""What browsers decode in place of an older standard (Python's codecs hold to the letter)."""

_COMMON_HAN = (
    "的一是不在人有我他中大上和地到以要就出可也生能子自由平等年月日這这個个國国時时說说來来會会"
)
"""Among the most frequent characters of Chinese, simplified and traditional."""


class Decoded(NamedTuple):
    """Text, the Python name of its encoding, and how many places were damaged."""

    text: str
    encoding: str
    damaged: int = 0


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """Decode ``data``.

    Raises
    ------
    Refusal
        ``binary`` for bytes that are no text, ``encoding`` where no encoding fits.
    """
    for bom, name in _BOMS:
        if data.startswith(bom):
            try:
                return Decoded(data[len(bom) :].decode(name), name)
            except UnicodeDecodeError:
                break
    check_binary(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _decode_other(data, declared)
    if data.isascii() and _SEVEN_BIT.search(data):
        seven = detect_encoding(data, html5_compatible=False) or ""
        if re.match(r"iso-?2022|hz", seven, re.IGNORECASE) and (found := _strict(data, seven)):
            return found
    return Decoded(text, "utf-8")


def check_binary(data: bytes) -> None:
    """Refuse bytes with more than a stray NUL (text in UTF-16 without a mark is refused too)."""
    nuls = data.count(b"\0")
    if nuls * MAX_NULS > max(len(data), MAX_NULS):
        raise Refusal("binary", f"{nuls} NUL bytes in {len(data)}")


def declared_in_html(data: bytes) -> str | None:
    """The encoding that a page's ``<meta>`` or XML declaration names in its first 4 KiB."""
    match = _META.search(data, 0, 4096)
    if match is None:
        return None
    return (match[1] or match[2]).decode("ascii")


def _web_name(label: str) -> str:
    name = map_encoding_to_html5(label, fallback_utf8=False)
    if name is None:
        python = codecs.lookup(label).name
        name = map_encoding_to_html5(python, fallback_utf8=False) or python
    return _SUPERSETS.get(name, name)


def _strict(data: bytes, name: str) -> Decoded | None:
    try:
        name = codecs.lookup(_web_name(name)).name
        text = data.decode(name)
    except (LookupError, UnicodeError):
        return None
    if not isinstance(text, str) or _controls(text) * 200 > len(text):
        return None
    return Decoded(text, name)


_C1 = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def _controls(text: str) -> int:
    return len(_C1.findall(text, 0, SAMPLE_BYTES))


def _decode_other(data: bytes, declared: str | None) -> Decoded:
    if declared and (found := _strict(data, declared)):
        return found
    if found := _damaged_utf8(data, declared):
        return found
    for name in _guesses(data):
        if found := _strict(data, name):
            return found
    raise Refusal("encoding", f"{len(data)} bytes are in no encoding that could be found")


def _damaged_utf8(data: bytes, declared: str | None) -> Decoded | None:
    """UTF-8 with few undecodable places, where it is declared or most other bytes speak for it."""
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    if damaged * MAX_DAMAGE > max(len(data), MAX_DAMAGE):
        return None
    sound = len(text) - len(text.encode("ascii", "ignore")) - damaged
    if sound < 10 * damaged and codecs_name(declared or "") not in ("utf_8", "utf8"):
        return None
    return Decoded(text, "utf-8", damaged)


def _guesses(data: bytes) -> list[str]:
    half = SAMPLE_BYTES // 2
    sample = data if len(data) <= SAMPLE_BYTES else data[:half] + data[-half:]
    names: list[str] = []
    found = detect_encoding(data, max_len=SAMPLE_BYTES, html5_compatible=False)
    if found and not _DOS.match(codecs_name(found)):
        found = _UNUSED.get(codecs_name(found), found)
        names += _chinese(sample) if found.lower() in ("gb18030", "big5") else [found]
    if not names:
        match = from_bytes(sample).best()
        if match is not None and not _DOS.match(match.encoding):
            names.append(match.encoding)
    return [*names, "cp1252"]


def _chinese(sample: bytes) -> list[str]:
    """GB 18030 and Big5, the likelier first: almost any bytes of one are valid in the other."""
    counts = {}
    for name in ("gb18030", "big5"):
        text = sample.decode(name, "ignore")
        counts[name] = sum(map(text.count, _COMMON_HAN))
    return sorted(counts, key=lambda name: -counts[name])


def codecs_name(label: str) -> str:
    """Python's name of an encoding, or the label in lower case."""
    try:
        return codecs.lookup(label).name.replace("-", "_")
    except LookupError:
        return label.lower()
