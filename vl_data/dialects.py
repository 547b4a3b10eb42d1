"""Named sets of rules over the signals of images and captions, as ``quality.dialects`` has of text.

They keep a document of text alone: it has no sides, no captions, and the rules on counts ask first
whether there are images.
"""

from __future__ import annotations

from quality.dialects import Dialect
from quality.rules import Condition, Rule

_SEVERAL = (Condition("image.count", "min", 3),)

_DIALECTS = (
    Dialect(
        "obelics.images",
        "1 to 30 images of sensible size and shape",
        "Laurençon et al. 2023, arXiv:2306.16527, appendix A",
        (
            Rule("image.min_side", "image.min_side", min=150),
            Rule("image.max_side", "image.max_side", max=20_000),
            Rule("image.max_aspect", "image.max_aspect", max=2),
            Rule("image.count", "image.count", max=30),
        ),
    ),
    Dialect(
        "omnicorpus.images",
        "no galleries: at least 50 words an image where there are more than two images",
        "Li et al. 2024, arXiv:2406.08418",
        (Rule("image.words_per_image", "image.words_per_image", min=50, when=_SEVERAL),),
    ),
    Dialect(
        "images",
        "images that show something, and are not all one and the same",
        "Leyden",
        (
            Rule("image.blank_frac", "image.blank_frac", max=0.5),
            Rule("image.repeated_frac", "image.repeated_frac", max=0.5),
        ),
    ),
    Dialect(
        "datacomp.basic",
        "English captions of over two words and five characters, images of 200 pixels and more",
        "Gadre et al. 2023, arXiv:2304.14108, basic filtering",
        (
            Rule("caption.words", "caption.words", min=3),
            Rule("caption.chars", "caption.chars", min=6),
            Rule("caption.lang", "caption.lang", in_=("en",)),
            Rule("image.min_side", "image.min_side", min=200),
            Rule("image.max_aspect", "image.max_aspect", max=3),
        ),
    ),
    Dialect(
        "captions",
        "captions, in any language, that say something of their images",
        "lengths as in Gadre et al. 2023, arXiv:2304.14108; the others Leyden",
        (
            Rule("caption.words", "caption.words", min=3),
            Rule("caption.chars", "caption.chars", min=6),
            Rule("caption.is_file_name", "caption.is_file_name", max=0.5),
            Rule("caption.boilerplate", "caption.boilerplate", max=0.5),
        ),
    ),
    Dialect(
        "images.repetition",
        "no stock images and no template captions: neither goes with too many of the other",
        "captions: Byeon et al. 2022, COYO-700M (10 images at most); the others Leyden",
        (
            Rule("image.captions", "image.captions", max=100),
            Rule("caption.images", "caption.images", max=10),
            Rule("caption.template_images", "caption.template_images", max=100),
        ),
    ),
)

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _DIALECTS}
"""The dialects by name, with what they are and where their thresholds come from."""

PRESETS: dict[str, tuple[Rule, ...]] = {name: d.rules for name, d in DIALECTS.items()}
"""The rules of each dialect, in order."""
