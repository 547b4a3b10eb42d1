"""Raw or refined caption: MiniMax-01 (section 6.1) takes one or the other with p = 0.5."""

from __future__ import annotations

from typing import Literal, NamedTuple

from vl_data.images import MARK
from vl_data.mix.chat import plain
from vl_data.mix.odds import chance
from vl_data.mix.refusals import SampleRefused

REFINED_SHARE = 0.5


class DrawnCaption(NamedTuple):
    """The caption that is trained on, and which it is."""

    text: str
    kind: Literal["raw", "refined"]


def draw_caption(
    raw: str | None,
    refined: str | None,
    content_id: bytes,
    seed: int = 0,
    share: float = REFINED_SHARE,
) -> DrawnCaption:
    """One of an image's two captions; the only one where the other says nothing.

    Parameters
    ----------
    content_id : bytes
        Of the document or the image: the draw hangs on it and the seed, never on a position.
    share : float
        Of the refined captions.

    Raises
    ------
    SampleRefused
        ``empty-answer`` where neither says anything.
    """
    raw, refined = (raw or "").strip(), (refined or "").strip()
    if not raw and not refined:
        raise SampleRefused("empty-answer", "found neither a raw nor a refined caption")
    drawn = chance("caption", seed, content_id, share)
    if refined and (drawn or not raw):
        return DrawnCaption(refined, "refined")
    return DrawnCaption(raw, "raw")


def caption_text(caption: str) -> str:
    """The document's text: the image's mark, a newline, the caption."""
    return f"{MARK}\n{plain(caption.strip(), pictured=True)}"
