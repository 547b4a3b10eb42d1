"""What a caption is worth by its text alone: file names, boilerplate, and keys for repetition."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from kernels.text import buffers_of, word_hashes

U64 = NDArray[np.uint64]

_SUFFIXES = "jpe?g|jfif|png|gif|webp|bmp|tiff?|svgz?|avif|heic|hei[cf]|ico|psd|eps|raw|nef|cr2|dng"
_NAMED_BY_MACHINES = (
    "img|image|images|imag|dsc|dsc[nf]|dcim|p|pic|pict|picture|photo|foto|pxl|mvi|gopr|gp|scan"
    "|screen ?shot|bildschirmfoto|capture|unnamed|untitled|unbenannt|download|file|figure|fig"
    "|abb|whatsapp image|sans titre|sin título"
)
_FILE_NAME = "|".join(
    (
        rf"^.*\.({_SUFFIXES})$",
        # img_2041, DSC-0003 (1), screenshot 2024-01-31 at 10.02.11, figure 3
        rf"^({_NAMED_BY_MACHINES})[\s_.-]*(\d[\d\s_.:x-]*)?(at[\s\d.:]*)?(am|pm)?"
        r"(\(\d+\))?[\s_-]*(copy|kopie|edit|final|large|small|thumb)?$",
        # one word of digits and hexadecimal digits: 0a1b2c3d4e, 20240131-100211
        r"^[0-9a-f_-]*[0-9][0-9a-f_-]{6,}$",
        # one word of many parts: red-car-on-street, team_photo_final_2
        r"^[\p{L}\d]+([_-][\p{L}\d]+){3,}$",
    )
)

_WHOLE = (
    "image|picture|photo|photograph|logo|site logo|icon|avatar|banner|header|footer|thumbnail"
    "|spacer|blank|placeholder|loading|advertisement|ad|sponsored|profile picture|profile photo"
    "|featured image|feature image|post image|cover|cover image|article image|user|author|close"
    "|menu|search|play|video|next|previous|back|share|print|download|no image|no photo|none|null"
    "|undefined|todo|n/?a|alt|alt text|caption|title|description|untitled|bild|foto|imagen|imagem"
    "|immagine|obraz|photo de profil|profilbild|logotipo|icône|символ|логотип|фото|изображение"
    "|图片|图像|圖片|標誌|标志|画像|写真|ロゴ|이미지|사진|로고"
)
_PICTURE = "((the|this) )?(image|photo|photograph|picture|thumbnail)s?"
_ASKED = "(enlarge|expand|open|play|read|see|view|zoom)"
_WITHIN = (
    rf"click (here|to {_ASKED}|for (more|details|(a )?(larger|full)))"
    rf"|click (on )?{_PICTURE}( (to|for)|\W*$)"
    rf"|tap to {_ASKED}|enlarge {_PICTURE}|view (larger|original|full[- ]size)"
    r"|full[- ]sized? (image|photo|picture|preview|version)"
    r"|image may contain|may be an image of|no photo description|no description available"
    r"|no (alt|caption|image|photo|picture) (text )?(available|found|provided)"
    r"|(image|photo|picture) (is )?(currently )?(not (available|found)|unavailable)"
    r"|image coming soon|this image has an empty alt|its file name is|getty images|shutterstock"
    r"|istock(photo)?|alamy|adobe ?stock|dreamstime|depositphotos|123rf|stock (photo|image|vector)"
    r"|royalty[- ]free|all rights reserved|terms of (use|service)|privacy policy"
    r"|(accept|allow|reject|uses?) (all )?cookies|cookie (banner|consent|notice|policy|settings)"
    r"|sponsored (content|post)|subscribe (to|now)|sign up (for (free|our)|here|now|today)"
    r"|follow us|share on (facebook|linkedin|pinterest|twitter|whatsapp)|read more\W*$"
    r"|(enable|requires?) javascript|javascript (is )?(disabled|not|required)|lazy ?load"
    r"|data:image|https?://|www\."
)
_AT_START = r"share (on|this)\b|pin (it|this)\b|read more\b|enlarge\b"
_AROUND = r"[^\p{L}\p{N}]*"
"""Not ``\\W``, to which every letter that is not ASCII is none."""
_BOILERPLATE = rf"^{_AROUND}(({_WHOLE}){_AROUND}$|{_AT_START})|\b({_WITHIN})"


def normalised(captions: pa.Array) -> pa.Array:
    """Captions in NFKC, lower case, with single spaces and none around; nulls stay."""
    plain = pc.utf8_lower(pc.utf8_normalize(captions.cast(pa.large_string()), "NFKC"))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, r"\s+", " "))


def is_file_name(captions: pa.Array) -> pa.Array:
    """Whether each caption is the name of a file, or one that a camera or a program gives: bool.

    Takes ``normalised`` captions. Null for a null.
    """
    return pc.match_substring_regex(captions, _FILE_NAME)


def is_boilerplate(captions: pa.Array) -> pa.Array:
    """Whether each caption is a stock phrase, a label of a page's parts or an address: bool.

    Takes ``normalised`` captions. Null for a null. The list is of phrases that occur by themselves
    as alternative texts of web pages, mostly English.
    """
    return pc.match_substring_regex(captions, _BOILERPLATE)


def word_counts(texts: pa.Array) -> NDArray[np.int32]:
    """Words with a letter or a number (UAX #29; an ideograph is a word) of each text: int32[n].

    A null has none.
    """
    filled = pc.fill_null(texts.cast(pa.large_string()), "")
    _, places = word_hashes(*buffers_of(filled))
    counts: NDArray[np.int32] = np.diff(places).astype(np.int32)
    return counts


def caption_keys(captions: pa.Array) -> U64:
    """Keys uint64[n]: equal for captions of the same letters and digits; 0 where there are none.

    Takes ``normalised`` captions.
    """
    return _keys(pc.replace_substring_regex(captions, r"[^\p{L}\p{M}\p{N}]+", " "))


def template_keys(captions: pa.Array) -> U64:
    """Keys uint64[n]: equal for captions that differ in numbers (and punctuation) alone.

    "Lot 17: chair" and "Lot 204: chair" are one template. 0 where there is nothing but numbers.
    """
    letters = pc.replace_substring_regex(captions, r"[^\p{L}\p{M}]+", " ")
    return _keys(letters)


def _keys(texts: pa.Array) -> U64:
    trimmed = pc.utf8_trim_whitespace(texts).cast(pa.large_binary())
    # 0 means none: that a text hashes to it is as likely as any collision.
    hashes = [xxhash.xxh3_64_intdigest(t) if t else 0 for t in trimmed.to_pylist()]
    return np.array(hashes, np.uint64)
