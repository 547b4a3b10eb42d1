"""Texts for the tests of the compiled pass: written here, and drawn by hypothesis."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.text import buffers_of

PROSE = """The keeper of the lighthouse wrote down what the sea did that day. He wrote it with care!
"Have you seen the boat?" asked the boy. Nobody had, and the wind didn't help.

- first, a list of things
• second, another bullet...
* a star is no bullet…
The keeper of the lighthouse wrote down what the sea did that day. He wrote it with care!

We use cookies. See our Privacy Policy and the terms of use for more.
Please enable JavaScript to read this page.
See the notes[12] and the rest [citation needed].
"""

CODE = """def area(r):
    return 3.14159 * r ** 2  # see https://example.org/a_b?c=d&e=f

class Box { int x; }  // lorem ipsum dolor
if (x[0] == y[1]) { x[0] += 1; }
############################
if (x[0] == y[1]) { x[0] += 1; }
"""

LANGUAGES = """Der Käse-Händler sagte: „Übermorgen um 10:30 Uhr.“ Straße, STRASSE, İstanbul.
Съешь же ещё этих мягких французских булок, да выпей чаю.
我们在北京吃饺子。今天天气很好！你呢？
東京タワーへ行きました。ｶﾀｶﾅとひらがな。
이것은 한국어 문장입니다. 두 번째 문장.
يوجد ٣٫١٤ قطعة؟ نعم، هذا صحيح۔
हिन्दी में एक वाक्य है। दूसरा वाक्य।
สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง
צה"ל וג'ירפה ב-12:00 "שלום"
Emoji 👩‍👩‍👧‍👦 🇩🇪🇫🇷 👍🏽 ❤️ 1️⃣ and e\u0301 a\u0308\u0323 zero\u200bwidth soft\u00adhyphen
"""

WRITTEN = [
    "",
    "\n",
    "\n\n\n\n",
    " \t \u3000 ",
    "word",
    "a\x00b\x01\x1f\x7f\x80\x9f\ufffd",
    PROSE,
    CODE,
    LANGUAGES,
    PROSE * 3,
    "spam " * 400,
    "x" * 3000,
    "One line. " * 300,
    "é" * 1001 + " is a long word.\n" + "é" * 1000 + " is not one.",
    "\n".join(["same line again"] * 40),
    "\r\n".join(["A first line.", "", "a second, longer line.\x0b\x0cA third one here.\x85x"]),
    "para one\nstill one\n\n\npara two\n\npara one\nstill one",
    "[1] [2] [3]\n[1][edit] Two words.[12]\n[x] [citation needed Three words here.[]",
    "Uses coo\u212aies and JAVA[1]SCRIPT here.\nprivacy\u2028policy of ours.",
    "\u2028 \u2029 \x1c \x1d \x1e \x1f \u1680 \u2000 \u202f \u205f \xa0",
    "....... … ...… . .. ... .... \n...\n…",
]
"""Documents with what the definitions trip over."""

PIECES = [
    *"aZ9_.,:;'\"-#{}[]()…•!?/\\",
    *" \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2028\u3000\u200b\u00ad\u0301\u200d\ufeff\x00\x7f\ufffd",
    *"éßẞİKſΣς٣Ⅷ漢字。！？ひらカタｶﾞ한국אב״ไทยहि👩👍🇩🇪❤\ufe0f🏽Ⓜ€→１",
    *("the ", "to ", "of ", "have ", "The ", "\n\n", "\r\n", "...", "- ", "• ", "e.g. ", "3.14"),
    *("lorem ipsum", "JavaScript", "terms of use", "coo\u212aie policy", "use cookies", "Dr. "),
    *("[1]", "[edit]", "[citation needed]", "[", "same words in a row here. ", "A line.\n"),
]

pieces = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
"""Texts rich in what matters, so that rules meet each other."""

# What was assigned after Unicode 14 is left out: Python's own judge of white space, digits and
# case may be older than the table.
characters = st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Z", "Cc", "Cf"))

documents = st.one_of(
    pieces,
    st.text(characters, max_size=40),
    st.tuples(
        st.lists(pieces, min_size=1, max_size=3), st.lists(st.integers(0, 2), max_size=12)
    ).map(lambda drawn: "\n".join(drawn[0][k % len(drawn[0])] for k in drawn[1])),
)
"""Documents: pieces, any characters, and lines that repeat."""


def buffers(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The Arrow buffers of some documents."""
    return buffers_of(pa.array(texts, pa.large_string()))
