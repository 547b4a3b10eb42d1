from __future__ import annotations

import contextlib
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.sources.encodings import declared_in_html, decode
from dataflow.sources.refusal import Refusal

Reader = Callable[..., Any]

SAMPLES = {
    "cp1252": "Größe, façade, naïve – „Zitat“ und so weiter; eine Übung über Äpfel.",
    "cp1251": "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "koi8-r": "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "iso8859-7": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
    "cp1255": "כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "cp932": "すべての人間は、生まれながらにして自由であり、尊厳と権利とについて平等である。",
    "euc_jp": "すべての人間は、生まれながらにして自由であり、尊厳と権利とについて平等である。",
    "gb18030": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "big5": "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心。",
    "cp949": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00\x1b~"), max_size=200))
def test_utf8_is_itself(text: str) -> None:
    assert decode(text.encode()) == (text.removeprefix("\ufeff"), "utf-8", 0)


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_decides(codec: str) -> None:
    text = "Größe 大きさ"
    mark = "" if codec == "utf-8-sig" else "\ufeff"
    found = decode((mark + text).encode(codec), declared="latin-1")
    assert found == (text, codec.removesuffix("-sig"), 0)


@pytest.mark.parametrize("codec", sorted(SAMPLES))
def test_encodings_are_found(codec: str) -> None:
    text = SAMPLES[codec] * 20
    data = text.encode(codec)
    assert decode(data).text == text
    assert decode(data, declared=codec).text == text


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("iso-8859-1", "cp1252"),
        ("Latin-1", "cp1252"),
        ("gb2312", "gb18030"),
        ("x-sjis", "cp932"),
        ("ks_c_5601-1987", "cp949"),
    ],
)
def test_labels_mean_what_browsers_make_of_them(label: str, codec: str) -> None:
    data = SAMPLES.get(codec, SAMPLES["cp1252"]).encode(codec)
    assert decode(data, declared=label).encoding == codec


def test_a_wrong_declaration_does_not_win() -> None:
    assert decode("naïve façade".encode(), declared="iso-8859-1").text == "naïve façade"
    text = SAMPLES["cp932"] * 20
    assert decode(text.encode("cp932"), declared="utf-8").text == text
    assert decode(text.encode("cp932"), declared="no-such-thing").text == text


def test_seven_bit_encodings_are_not_ascii() -> None:
    text = SAMPLES["cp932"] * 5
    assert decode(text.encode("iso2022_jp")).text == text
    chinese = SAMPLES["gb18030"] * 5
    assert decode(chinese.encode("hz")).text == chinese
    assert decode(b"cd ~{here} and \x1b[1mbold\x1b[0m").encoding == "utf-8"


def test_damaged_utf8_is_kept_and_counted() -> None:
    data = ("Größe über alles Maß. " * 200).encode()
    found = decode(data[:1000] + b"\xff" + data[1000:-1] + b"\xc3")
    assert (found.encoding, found.damaged) == ("utf-8", 2)
    assert found.text.count("\ufffd") == 2


def test_nul_bytes() -> None:
    assert "\0" in decode(b"one \0 stray NUL in a text " * 1 + b"of some length. " * 100).text
    for data in (b"\0\1\2\3" * 100, "no mark".encode("utf-16-le") * 40, b"\0"):
        if data == b"\0":
            assert decode(data).text == "\0"
            continue
        with pytest.raises(Refusal) as caught:
            decode(data)
        assert caught.value.reason == "binary"


def test_noise_is_refused_or_decoded() -> None:
    import random

    for seed in range(50):
        data = bytes(b for b in random.Random(seed).randbytes(2000) if b)
        with contextlib.suppress(Refusal):
            decode(data)


def test_declarations_in_html() -> None:
    assert declared_in_html(b'<META HTTP-EQUIV="x" CONTENT="text/html; CHARSET=Big5">') == "Big5"
    assert declared_in_html(b"<meta charset=koi8-r>") == "koi8-r"
    assert declared_in_html(b'<?xml version="1.0" encoding="utf-16"?>') == "utf-16"
    assert declared_in_html(b"<p>charset=utf-8</p>") is None


def test_udhr_in_legacy_encodings(shared_data: Callable[[str], Path]) -> None:
    """Most translations decode to the very text; the rest are single bytes of rare languages."""
    codecs = {
        "Latin1": ("cp1252",),
        "Latin2": ("iso8859-2", "cp1250"),
        "Cyrillic": ("cp1251", "iso8859-5"),
        "UTF8": ("utf-8-sig",),
        "GB2312": ("gb18030",),
        "HZ": ("hz",),
        "Hebrew": ("cp1255",),
        "Baltic": ("cp1257", "iso8859-4", "iso8859-13"),
        "Turkish": ("cp1254",),
    }
    right: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    with tarfile.open(shared_data("c_langid/udhr_encodings.tar.gz")) as tar:
        for member in tar:
            name = member.name.split("-")[-1]
            data = tar.extractfile(member)
            if name not in codecs or data is None:
                continue
            raw = data.read()
            truths = set()
            for codec in codecs[name]:
                try:
                    truths.add(raw.decode(codec))
                except UnicodeDecodeError:
                    continue
            if not truths:
                continue
            seen[name] += 1
            try:
                right[name] += decode(raw).text in truths
            except Refusal:
                continue
    assert right["UTF8"] == seen["UTF8"] == 48
    assert right["Latin2"] == seen["Latin2"] == 13
    assert right.total() / seen.total() >= 0.9
