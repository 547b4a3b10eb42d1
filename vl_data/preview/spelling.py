"""What token ids say: their bytes, by the run's own ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from tokenizers import Tokenizer

from vl_data.images import MARK
from vl_data.mix.chat import special
from vl_data.preview.sample import Sample

IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Ids in a row that are all learnt or all not: text, or one special of a ``role``."""

    text: str
    role: str
    learnt: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Where ids say something else than the stored text: the byte, and what stands there."""

    byte: int
    stored: str
    decoded: str


class Speller:
    """Spells ids. Of a byte-level tokenizer exactly; of any other as ``tokenizers`` decodes them.

    Parameters
    ----------
    data: a ``tokenizer.json``.
    specials: id of each role.
    """

    def __init__(self, data: bytes, specials: Mapping[str, int]) -> None:
        self._tokenizer = Tokenizer.from_str(data.decode())
        self._roles = {number: role for role, number in specials.items()}
        self._added = {one["id"] for one in orjson.loads(data).get("added_tokens", ())}
        decoder = orjson.loads(data).get("decoder") or {}
        steps = decoder.get("decoders", [decoder])
        self._bytes = _bytes_of_characters() if steps[0].get("type") == "ByteLevel" else None

    def spell(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids; an image's is U+FFFC, another special's as chats spell its role."""
        parts = []
        for role, some in _by_role(ids, self._roles):
            if role == IMAGE:
                parts.append(MARK.encode() * len(some))
            elif role:
                parts.append(special(role).encode() * len(some))
            elif self._bytes is None:
                parts.append(self._tokenizer.decode(some, skip_special_tokens=False).encode())
            else:
                parts += [self._one(number) for number in some]
        return b"".join(parts)

    def _one(self, number: int) -> bytes:
        assert self._bytes is not None
        token = self._tokenizer.id_to_token(number)
        if token is None or number in self._added:
            return (token or "").encode()
        return bytes(self._bytes[character] for character in token)

    def stretches(self, sample: Sample) -> list[Stretch]:
        """A sample's ids as they are shown: each special alone, text in runs of learnt or not.

        A run that begins or ends inside a character shows U+FFFD there.
        """
        found: list[Stretch] = []
        start, ids = 0, sample.ids.tolist()
        for end in range(1, len(ids) + 1):
            role = self._roles.get(ids[start])
            more = end < len(ids) and not role and ids[end] not in self._roles
            if more and sample.learns[end] == sample.learns[start]:
                continue
            text = self.spell(ids[start:end]).decode(errors="replace")
            learnt = bool(sample.learns[start]) and role != IMAGE
            found.append(Stretch(text, role or "", learnt, end - start))
            start = end
        return found

    def difference(self, sample: Sample) -> Difference | None:
        """Where the ids, ``eod`` left out, do not say the stored text; None where they do."""
        decoded, stored = self.spell(sample.ids[:-1].tolist()), sample.text
        if decoded == stored:
            return None
        pairs = zip(decoded, stored, strict=False)
        place = next(
            (i for i, (a, b) in enumerate(pairs) if a != b), min(map(len, (decoded, stored)))
        )
        here = [text[place : place + 40].decode(errors="replace") for text in (stored, decoded)]
        return Difference(place, *here)


def _by_role(ids: Sequence[int], roles: Mapping[int, str]) -> Iterator[tuple[str, list[int]]]:
    """Stretches of ids of one role, or of none."""
    held: list[int] = []
    last = ""
    for number in ids:
        role = roles.get(number, "")
        if held and role != last:
            yield last, held
            held = []
        held.append(number)
        last = role
    if held:
        yield last, held


def _bytes_of_characters() -> dict[str, Any]:
    """GPT-2's alphabet: a printable character for each byte (Radford et al. 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    found = {chr(byte): byte for byte in printable}
    return found | {chr(256 + i): byte for i, byte in enumerate(others)}
