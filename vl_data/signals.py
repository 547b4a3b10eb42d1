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


def _in_run(name: str, unit: str, low: float | None, high: float | None, doc: str) -> Signal:
    return Signal(name, pa.float32(), unit, low, high, doc, LEYDEN, "image_reward")


_IMAGE_REWARD = (
    _in_run(
        "caption.bits",
        "bits",
        0,
        None,
        "what the distinct words of a caption tell: for each the log2 of captions in the run per"
        " caption with the word, to 1/256 bit; the least of any caption",
    ),
    _in_run(
        "caption.word_bits",
        "bits per word",
        0,
        None,
        "the same, of all captions, per distinct word",
    ),
    _count(
        "caption.own_words",
        "words",
        "distinct words that no other caption of the document has, the fewest of any caption",
        "image_reward",
    ),
    _share(
        "caption.number_frac", "of what stands between blanks, what has a digit", "image_reward"
    ),
    _share(
        "caption.name_frac",
        "of what stands between blanks, what begins with a capital letter inside a sentence",
        "image_reward",
    ),
    _share(
        "caption.echo_frac",
        "distinct words that the image's file name, its other text or the document's title has too",
        "image_reward",
    ),
    _share(
        "caption.repeated_frac",
        "captions seen before in the document, by their letters and digits",
        "image_reward",
    ),
    _in_run(
        "image_reward.gain",
        "nats per byte",
        None,
        None,
        "log-probability of a caption with its image less that with another's, by a model that"
        " sees; the mean of the captions that it scored, down to 1/1024",
    ),
    _in_run(
        "image_reward.gain_unseen",
        "nats per byte",
        None,
        None,
        "the same, less that without an image",
    ),
    _in_run(
        "image_reward.informativeness",
        "points",
        0,
        2,
        "1/32 point for each bit of a caption, none for a file's name or a stock phrase; the mean"
        " of the captions, down to 1/64",
    ),
    _in_run(
        "image_reward.originality",
        "points",
        0,
        1,
        "1/4 point less for each doubling of the images that have the caption, 1/8 for each of"
        " those that have its template; to 1/64",
    ),
    _in_run(
        "image_reward.agreement",
        "points",
        0,
        2,
        "1 and 4 times the gain, of each caption that a model scored; the mean, down to 1/64",
    ),
    _in_run(
        "image_reward.score",
        "points",
        0,
        5,
        "informativeness, originality and agreement (1 where no model has looked), to 1/64",
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
    signal.name: signal
    for signal in (*_IMAGES, *_CAPTIONS, *_REPETITION, *_IMAGE_REWARD, *_PREFERENCES)
}
"""All signals by name, in the order in which their producers write them."""


def schema(producer: Producer) -> pa.Schema:
    """The Arrow schema of the columns that one producer writes, in order."""
    return pa.schema([pa.field(s.name, s.type) for s in SIGNALS.values() if s.producer == producer])
