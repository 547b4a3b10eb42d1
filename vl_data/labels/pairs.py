"""The instruction pairs of a conversation, as `vl_data tag` was given them."""

from __future__ import annotations

from collections.abc import Sequence

from vl_data.images import MARK
from vl_data.labels.items import pair_digest
from vl_data.mix.chat import specials_in
from vl_data.mix.turns import TAG


def pair_digests(text: str, images: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """Of each answer of a chat's text, the digests that its pair may have been tagged by.

    An instruction is all that the user said since the last answer. Whether a list of pairs spells
    where images stand (``<image>``), and names the images of former turns again, is its maker's
    choice: any of these names the pair.

    Parameters
    ----------
    text: of ``vl_data.mix.chat.chat_of``.
    images: the digests of the document's images, in order.
    """
    found: list[tuple[bytes, ...]] = []
    shown = before = 0
    asked = ""
    for role, said in _turns(text):
        if role == "user":
            asked = f"{asked}\n{said}" if asked else said
            shown += said.count(MARK)
        elif role == "assistant":
            instructions = (asked.replace(MARK, TAG), asked.replace(MARK, "").strip())
            sets = (images[before:shown], images[:shown], images)
            found.append(
                tuple(
                    dict.fromkeys(
                        pair_digest(instruction, said, some)
                        for instruction in instructions
                        for some in sets
                    )
                )
            )
            asked, before = "", shown
    return found


def _turns(text: str) -> list[tuple[str, str]]:
    """Role and text of each turn."""
    data, turns, role, start = text.encode(), [], "", 0
    for special in specials_in(text):
        if special.role == "turn_end":
            turns.append((role, data[start : special.start].decode()))
        role, start = special.role, special.end
    return turns
