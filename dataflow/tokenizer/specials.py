"""The special ids that every tokenizer trained here reserves, from the first version on.

They take ids 0 to 63, below the vocabulary: they keep their ids when a larger vocabulary is
trained, a model's code can hold them as constants, and a zero-filled buffer is padding. No text
ever encodes to one of them, not even text that spells its name.
"""

from __future__ import annotations

RESERVED = 64
"""How many ids are reserved."""

_NAMED = (
    "pad",
    "eod",  # ends every document in the token shards
    "image",  # stands for one visual feature
    "image_newline",  # ends a row of a tile grid
    "image_start",
    "image_end",
    "system",  # a chat turn: its role's id, then text, then turn_end
    "user",
    "assistant",
    "tool",
    "turn_end",
    "tool_call",
    "tool_call_end",
    "tool_result",
    "tool_result_end",
    "fim_prefix",  # fill in the middle
    "fim_middle",
    "fim_suffix",
)

SPECIALS: dict[str, int] = {
    name: i
    for i, name in enumerate(
        _NAMED + tuple(f"spare_{number}" for number in range(len(_NAMED), RESERVED))
    )
}
"""Role to id. A spare is named by its id, so that taking one into use renames nothing else."""

ROLES = frozenset(_NAMED)
"""The roles that have a meaning (all but the spares)."""


def special_string(role: str) -> str:
    """How a special is spelled in ``tokenizer.json``: ``<|role|>``."""
    return f"<|{role}|>"
