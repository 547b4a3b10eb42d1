"""Every signal of documents with images that a rule may test; like ``quality.signals``, one list.

A document's signals are null where it has nothing to measure: no images, or no captions. An image's
caption is the one that the document gives it, else its alternative text.
"""

from __future__ import annotations

import pyarrow as pa

from quality.signals import LEYDEN, LID_176, Producer, Signal

OBELICS = "Laurençon et al. 2023, arXiv:2306.16527, appendix A"
OMNICORPUS = "Li et al. 2024, arXiv:2406.08418"
DATACOMP = "Gadre et al. 2023, arXiv:2304.14108, basic filtering"
COYO = "Byeon et al. 2022, COYO-700M, data card"
MINIMAX = "MiniMax-01, arXiv:2501.08313, section 6.3"


def _count(name: str, unit: str, doc: str, producer: Producer, source: str = LEYDEN) -> Signal:
    return Signal(name, pa.int32(), unit, 0, None, doc, source, producer)


def _share(name: str, doc: str, producer: Producer) -> Signal:
    return Signal(name, pa.float32(), "fraction", 0, 1, doc, LEYDEN, producer)


def _ratio(name: str, unit: str, low: float, doc: str, source: str) -> Signal:
    return Signal(name, pa.float32(), unit, low, None, doc, source, "images")


_IMAGES = (
    _count("image.count", "images", "images of the document; 0 without", "images", OBELICS),
    _count("image.min_side", "pixels", "the shortest side of any image", "images", OBELICS),
    _count("image.max_side", "pixels", "the longest side of any image", "images", OBELICS),
    _ratio("image.max_aspect", "ratio", 1, "longer by shorter side, of any image", OBELICS),
    _count("image.max_frames", "frames", "the most frames of any image", "images"),
    _share("image.blank_frac", "images that show nothing", "images"),
    _share("image.repeated_frac", "images seen before in the document, by their pixels", "images"),
    _share("image.caption_frac", "images with a caption or an alternative text", "images"),
    _ratio(
        "image.words_per_image",
        "words per image",
        0,
        "words of the text that are not punctuation alone, per image",
        OMNICORPUS,
    ),
)

_CAPTIONS = (
    _count(
        "caption.words",
        "words",
        "the fewest words of any caption, punctuation not counted",
        "captions",
        DATACOMP,
    ),
    _count("caption.max_words", "words", "the most words of any caption", "captions"),
    _count(
        "caption.chars", "characters", "the fewest characters of any caption", "captions", DATACOMP
    ),
    _share("caption.is_file_name", "captions that are names of files", "captions"),
    _share("caption.boilerplate", "captions that say nothing of their image", "captions"),
    Signal(
        "caption.lang",
        pa.string(),
        "ISO 639 code",
        None,
        None,
        "the most probable language of all captions together",
        LID_176,
        "captions",
    ),
    Signal(
        "caption.lang_score",
        pa.float32(),
        "probability",
        0,
        1,
        "the model's probability of that language, rounded to 4 decimals",
        LID_176,
        "captions",
    ),
)

_REPETITION = (
    _count(
        "image.captions",
        "captions",
        "distinct captions that an image has in the whole run, the most of any image; images are"
        " one by their cluster, captions by their letters and digits",
        "repetition",
    ),
    _count(
        "image.documents",
        "documents",
        "documents of the run that hold an image of the cluster, the most of any image",
        "repetition",
    ),
    _count(
        "caption.images",
        "images",
        "distinct images that a caption has in the whole run, the most of any caption",
        "repetition",
        COYO,
    ),
    _count(
        "caption.template_images",
        "images",
        "distinct images of all captions that differ in numbers alone, the most of any caption",
        "repetition",
    ),
)

_PREFERENCES = (
    Signal(
        "preference.gap",
        pa.float32(),
        "score",
        None,
        None,
        "of a pair of answers, the score of the chosen one less that of the rejected one, where"
        " both are scored",
        MINIMAX,
        "preference",
    ),
)

SIGNALS: dict[str, Signal] = {
    signal.name: signal for signal in (*_IMAGES, *_CAPTIONS, *_REPETITION, *_PREFERENCES)
}
"""All signals by name, in the order in which their producers write them."""


def schema(producer: Producer) -> pa.Schema:
    """The Arrow schema of the columns that one producer writes, in order."""
    return pa.schema([pa.field(s.name, s.type) for s in SIGNALS.values() if s.producer == producer])
