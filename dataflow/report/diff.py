"""Word-level differences of two texts, shortest edit script first, shown with a little context."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from dataflow.report.markup import visible

Kind = Literal["=", "-", "+", "~"]
Edit = tuple[Kind, int, int, int, int]
"""A run: its kind, and where it lies in the tokens of the first and of the second text."""

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
MAX_TOKENS = 12_000
MAX_EDITS = 700
CONTEXT = 14
MAX_PIECE = 420
MAX_SHOWN = 2600


@dataclass(frozen=True)
class Difference:
    """What is shown of a comparison.

    ``pieces`` are (kind, text): ``=`` common, ``-`` only in the first text, ``+`` only in the
    second, ``~`` a number of common words left out. ``exact`` is False when the texts were too long
    or too different for the shortest script to be found.
    """

    pieces: tuple[tuple[Kind, str], ...]
    removed: int
    added: int
    exact: bool


def compare(first: str, second: str) -> Difference:
    """Compare two texts word by word, in bounded time and space."""
    a, b = _TOKEN.findall(first), _TOKEN.findall(second)
    cut = len(a) > MAX_TOKENS or len(b) > MAX_TOKENS
    a, b = a[:MAX_TOKENS], b[:MAX_TOKENS]
    edits, exact = edit_script(a, b)
    if cut:
        # Where one text was cut earlier than the other is no difference between them.
        long = [
            i for i, (kind, lo, hi, _, _) in enumerate(edits) if kind == "=" and hi - lo > CONTEXT
        ]
        edits = edits[: long[-1] + 1] if long else edits
    removed = sum(_words(a[lo:hi]) for kind, lo, hi, _, _ in edits if kind == "-")
    added = sum(_words(b[lo:hi]) for kind, _, _, lo, hi in edits if kind == "+")
    return Difference(tuple(_pieces(edits, a, b)), removed, added, exact and not cut)


def edit_script(a: list[str], b: list[str], limit: int = MAX_EDITS) -> tuple[list[Edit], bool]:
    """The shortest script of insertions and deletions (Myers 1986, greedy forward search).

    Returns runs that cover both lists in order, and whether the script is shortest: where more than
    ``limit`` edits are needed, all that differs is one deletion and one insertion.
    """
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    tail = 0
    while tail < min(len(a), len(b)) - start and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    end_a, end_b = len(a) - tail, len(b) - tail
    path = _greedy(a[start:end_a], b[start:end_b], limit)
    edits: list[Edit] = [("=", 0, start, 0, start)]
    if path is None:
        edits += [("-", start, end_a, start, start), ("+", end_a, end_a, start, end_b)]
    else:
        for (x, y), (u, v) in pairwise(path):
            kind: Kind = "=" if u - x == v - y else "-" if u > x else "+"
            edits.append((kind, start + x, start + u, start + y, start + v))
    edits.append(("=", end_a, len(a), end_b, len(b)))
    return _merge(edits), path is not None


def _greedy(a: list[str], b: list[str], limit: int) -> list[tuple[int, int]] | None:
    """Corners of the shortest path from (0, 0) to (len(a), len(b)), or None beyond ``limit``."""
    furthest = {1: 0}
    trace = []
    for d in range(min(limit, len(a) + len(b)) + 1):
        trace.append(dict(furthest))
        for k in range(-d, d + 1, 2):
            down = k == -d or (k != d and furthest[k - 1] < furthest[k + 1])
            x = furthest[k + 1] if down else furthest[k - 1] + 1
            y = x - k
            while x < len(a) and y < len(b) and a[x] == b[y]:
                x, y = x + 1, y + 1
            furthest[k] = x
            if x >= len(a) and y >= len(b):
                return _backtrack(trace, len(a), len(b))
    return None


def _backtrack(trace: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    path = [(x, y)]
    for d in range(len(trace) - 1, 0, -1):
        furthest, k = trace[d], x - y
        down = k == -d or (k != d and furthest[k - 1] < furthest[k + 1])
        before = k + 1 if down else k - 1
        x = furthest[before]
        y = x - before
        # The edit itself, then the diagonal that followed it.
        path.append((x, y + 1) if down else (x + 1, y))
        path.append((x, y))
    path.append((0, 0))
    path.reverse()
    return path


def _merge(edits: list[Edit]) -> list[Edit]:
    """Join neighbours of one kind; order deletions before insertions; drop empty runs."""
    merged: list[Edit] = []
    gone: Edit | None = None
    came: Edit | None = None
    for edit in edits:
        kind, a_low, a_high, b_low, b_high = edit
        if a_low == a_high and b_low == b_high:
            continue
        if kind == "-":
            gone = edit if gone is None else ("-", gone[1], a_high, gone[3], gone[4])
            continue
        if kind == "+":
            came = edit if came is None else ("+", came[1], came[2], came[3], b_high)
            continue
        merged.extend(e for e in (gone, came) if e is not None)
        gone = came = None
        if merged and merged[-1][0] == "=":
            last = merged[-1]
            merged[-1] = ("=", last[1], a_high, last[3], b_high)
        else:
            merged.append(edit)
    merged.extend(e for e in (gone, came) if e is not None)
    return merged


def _words(tokens: list[str]) -> int:
    return sum(1 for token in tokens if not token.isspace())


def _pieces(edits: list[Edit], a: list[str], b: list[str]) -> list[tuple[Kind, str]]:
    pieces: list[tuple[Kind, str]] = []
    shown = 0
    for number, (kind, a_low, a_high, b_low, b_high) in enumerate(edits):
        if shown > MAX_SHOWN:
            rest = _words(a[a_low:])
            pieces.append(("~", str(rest)))
            break
        tokens = b[b_low:b_high] if kind == "+" else a[a_low:a_high]
        if kind != "=":
            text = visible("".join(tokens))
            pieces.append((kind, text if len(text) <= MAX_PIECE else text[:MAX_PIECE] + " […]"))
            shown += len(pieces[-1][1])
            continue
        head = [] if number == 0 else tokens[:CONTEXT]
        foot = [] if number == len(edits) - 1 else tokens[len(head) :][-CONTEXT:]
        left_out = _words(tokens[len(head) : len(tokens) - len(foot)])
        for part in (head, None, foot):
            if part is None:
                if left_out:
                    pieces.append(("~", str(left_out)))
            elif part:
                pieces.append(("=", visible("".join(part))[:MAX_PIECE]))
                shown += len(pieces[-1][1])
    return pieces
