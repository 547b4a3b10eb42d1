"""Special characters of roff (groff_char(7), groff 1.23), and composed accents."""

from __future__ import annotations

import re
import unicodedata

_PAIRS = """
- - hy ‐ en – em — bu • co © rg ® tm ™ dg † dd ‡ ps ¶ sc § de ° mc µ ct ¢ Po £ Ye ¥ Eu € Cs ¤
fm ′ sd ″ aq ' dq " oq ‘ cq ’ lq “ rq ” Bq „ bq ‚ Fo « Fc » fo ‹ fc › aa ´ ga ` ti ~ ha ^ rs \\
at @ sh # Do $ ul _ ba | br │ bb ¦ lB [ rB ] lC { rC } la ⟨ ra ⟩ sl / <- ← -> → ua ↑ da ↓ <> ↔
va ↕ lA ⇐ rA ⇒ hA ⇔ +- ± mu × di ÷ pl + mi − eq = != ≠ == ≡ =~ ≅ ~= ≈ ~~ ≈ ap ∼ <= ≤ >= ≥ if ∞
no ¬ OR ∨ AN ∧ ** ∗ sr √ sq □ ci ○ ss ß ae æ AE Æ oe œ OE Œ /o ø /O Ø oA Å oa å -D Ð Sd ð TP Þ
Tp þ 12 ½ 14 ¼ 34 ¾ S1 ¹ S2 ² S3 ³ Of ª Om º r! ¡ r? ¿ OK ✓ lh ☜ rh ☞ pc · md ⋅ nb ⊄ *a α *b β
*g γ *d δ *e ε *z ζ *y η *h θ *i ι *k κ *l λ *m μ *n ν *c ξ *o ο *p π *r ρ *s σ *t τ *u υ *f φ
*x χ *q ψ *w ω *A Α *B Β *G Γ *D Δ *H Θ *L Λ *P Π *S Σ *F Φ *Q Ψ *W Ω pd ∂ gr ∇ is ∫ sum ∑
product ∏ mo ∈ nm ∉ sb ⊂ sp ⊃ ca ∩ cu ∪ fa ∀ te ∃ es ∅ tf ∴ 3d ∴ Ah ℵ Im ℑ Re ℜ wp ℘ ff ff fi fi
fl fl Fi ffi Fl ffl .i ı .j ȷ IJ Ĳ ij ĳ HE ♥ CL ♣ SP ♠ DI ♦ ru _ rn ‾ radicalex ‾ an ⎯ bv │ lt ⎧
lk ⎨ lb ⎩ sqrt √ nc ⊅ ib ⊆ ip ⊇ c* ⊗ c+ ⊕ Nm ∉ nosp  Fn ƒ mp ∓ ne ≢ pt ∝ |= ≃
"""
_ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", ":": "\u0308",
    "v": "\u030c", ",": "\u0327", "o": "\u030a", "ho": "\u0328",
}  # fmt: skip
_UNICODE = re.compile(r"u([0-9A-F]{4,6})((?:_[0-9A-F]{4,6})*)$")


def _table() -> dict[str, str]:
    words = [w for line in _PAIRS.strip().split("\n") for w in line.split(" ")]
    return dict(zip(words[::2], words[1::2], strict=True))


CHARACTERS = _table()
STRINGS = {
    "Aq": "'", "R": "®", "Tm": "™", "lq": "“", "rq": "”", "S": "", "C`": "", "C'": "",
    "L\"": "“", "R\"": "”", "--": "—", "PI": "π", "C+": "C++", "``": "“", "''": "”",
    "Gt": ">", "Lt": "<", "Ge": "≥", "Le": "≤", "Ne": "≠", "Am": "&", "Ba": "|", "Pm": "±",
    "q": "\"", "Lq": "“", "Rq": "”",
}  # fmt: skip
"""Strings that man, mdoc and pod2man predefine."""


def character(name: str) -> str:
    """The text of ``\\[name]``, or an empty string for one that is not known."""
    if name in CHARACTERS:
        return CHARACTERS[name]
    if match := _UNICODE.match(name):
        codes = [int(c, 16) for c in [match[1], *match[2].split("_")[1:]]]
        if all(c < 0x110000 and not 0xD800 <= c < 0xE000 for c in codes):
            return unicodedata.normalize("NFC", "".join(map(chr, codes)))
    if len(name) >= 2 and (accent := _ACCENTS.get(name[:-1])) and name[-1].isalpha():
        return unicodedata.normalize("NFC", name[-1] + accent)
    return ""
