"""Chances that hang on a document's content and a seed, and on nothing else."""

from __future__ import annotations

import blake3

_DOMAIN = b"leyden.vl.mix.1\0"
WORD = 1 << 64


def word(purpose: str, seed: int, key: bytes) -> int:
    """A number of ``0 … 2**64 - 1``: the first 8 bytes of BLAKE3 over purpose, seed and key.

    Parameters
    ----------
    purpose : str
        What is drawn, without NUL: two draws of one document are independent of each other.
    key : bytes
        The document's ``content_id``, or another id that comes from content.
    """
    said = b"\0".join((purpose.encode(), str(seed).encode(), key))
    return int.from_bytes(blake3.blake3(_DOMAIN + said).digest(length=8), "little")


def below(purpose: str, seed: int, key: bytes, count: int) -> int:
    """A number of ``0 … count - 1``, all as likely but for one part in 2**64 / count."""
    if count < 1:
        raise ValueError(f"{purpose}: found {count} to draw from, expected at least 1")
    return word(purpose, seed, key) * count >> 64


def chance(purpose: str, seed: int, key: bytes, share: float) -> bool:
    """True with probability ``share``, 0 … 1."""
    if not 0 <= share <= 1:
        raise ValueError(f"{purpose}: found a share of {share}, expected 0 to 1")
    return word(purpose, seed, key) < int(share * WORD)
