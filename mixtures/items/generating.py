"""Items made of held-out text: the true continuation of a stretch against three of other documents.

A distractor continues a stretch of the same source and language in another held-out document, at a
like place in it, and has as many bytes within a tenth; one that shares half its words with the true
one is not taken. So neither length nor commonness tells which is true, and the item asks what an
item of a benchmark like HellaSwag asks, whether a model knows how this text goes on, of the text
that the corpus is made of. It measures whether the corpus' kind of text was learnt, topic and style
within a few hundred bytes; it says nothing of knowledge or reasoning. Distractors are of other
topics, so a model that only repeats the query's words does well: `baselines` says how well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import xxhash

from dataflow.run import Run
from mixtures.items.errors import ItemsError
from mixtures.items.item import Item
from mixtures.items.stretches import Sizes, Stretch, stretches

KIND = "generated"
DISTRACTORS = 3
LIKE_BYTES = 0.1
UNLIKE_WORDS = 0.5
_LOOKED_AT = 256
"""Stretches that are considered as distractors, drawn by hash; the nearest in place are taken."""


@dataclass(frozen=True)
class Generated:
    """Items, and how many each source could have given."""

    items: tuple[Item, ...]
    possible: dict[str, int]


def generate(
    run: Run,
    count: int,
    *,
    seed: int = 0,
    sizes: Sizes | None = None,
    sources: Sequence[str] | None = None,
    except_sources: Sequence[str] = (),
) -> Generated:
    """Make ``count`` items, as many of each source as of the others where it has them.

    The same corpus content and seed give the same items. Right answers stand at each place equally
    often, within one.

    Raises
    ------
    ItemsError
        If a source is unknown, or held-out text gives fewer items: with what each source gives.
    """
    sizes = sizes or Sizes()
    found = stretches(run, sizes, seed, _wanted(sources, except_sources))
    missing = sorted(set(sources or ()) - set(found))
    if missing:
        known = sorted(stretches(run, sizes, seed, lambda _: True))
        raise ItemsError(
            f"{run.store.uri}: found no held-out document of {', '.join(missing)}, expected some "
            f"of {', '.join(known) or 'nothing: no document is held out'}"
        )
    made = {source: _of_source(mine, count) for source, mine in found.items()}
    possible = {source: len(mine) for source, mine in made.items()}
    if sum(possible.values()) < count:
        gives = ", ".join(f"{source} {n:,}" for source, n in possible.items()) or "no source any"
        raise ItemsError(
            f"{run.store.uri}: found held-out text for {sum(possible.values()):,} items ({gives}), "
            f"expected {count:,}; ask for fewer, for shorter ones, or hold out more"
        )
    drawn: list[tuple[Stretch, list[Stretch]]] = []
    for source, share in _shares(possible, count).items():
        drawn += made[source][:share]
    drawn.sort(key=lambda one: (one[0].key, one[0].doc_id))
    # The order is that of hashes: a place that goes round knows nothing of the text.
    return Generated(
        tuple(_item(n, true, false) for n, (true, false) in enumerate(drawn)), possible
    )


def _wanted(sources: Sequence[str] | None, but: Sequence[str]) -> Callable[[str], bool]:
    return lambda source: (sources is None or source in sources) and source not in but


def _shares(possible: dict[str, int], count: int) -> dict[str, int]:
    """How many of each: those with the fewest first, the others share what is left."""
    shares: dict[str, int] = {}
    order = sorted(possible, key=lambda source: (possible[source], source))
    for n, source in enumerate(order):
        left = len(order) - n
        shares[source] = min(possible[source], (count - sum(shares.values())) // left)
    # What rounding left goes to those that have more.
    for source in reversed(order):
        more = min(possible[source] - shares[source], count - sum(shares.values()))
        shares[source] += more
    return shares


def _of_source(mine: Sequence[Stretch], most: int) -> list[tuple[Stretch, list[Stretch]]]:
    """Stretches with their distractors: the first of each document before the second of any."""
    by_language: dict[str, list[Stretch]] = {}
    for one in mine:
        by_language.setdefault(one.language, []).append(one)
    turns: dict[bytes, int] = {}
    order = []
    for one in mine:
        turn = turns[one.doc_id] = turns.get(one.doc_id, -1) + 1
        order.append((turn, one.key, one))
    found: list[tuple[Stretch, list[Stretch]]] = []
    for _, _, one in sorted(order, key=lambda entry: entry[:2]):
        if len(found) == most:
            break
        others = _distractors(one, by_language[one.language])
        if len(others) == DISTRACTORS:
            found.append((one, others))
    return found


def _distractors(true: Stretch, among: Sequence[Stretch]) -> list[Stretch]:
    """The nearest in place of those that a hash draws, each of a document of its own."""
    size = len(true.continuation.encode())
    like = [
        other
        for other in among
        if other.doc_id != true.doc_id
        and abs(len(other.continuation.encode()) - size) <= LIKE_BYTES * size
    ]
    seed = true.key
    like.sort(key=lambda other: xxhash.xxh3_64_intdigest(b"%d" % other.key, seed))
    found: list[Stretch] = []
    for other in sorted(like[:_LOOKED_AT], key=lambda o: abs(o.position - true.position)):
        taken = [true, *found]
        if all(
            other.doc_id != one.doc_id and _unlike(other.continuation, one.continuation)
            for one in taken
        ):
            found.append(other)
            if len(found) == DISTRACTORS:
                break
    return found


def _unlike(a: str, b: str) -> bool:
    """Whether two texts share less than half of their words (Jaccard)."""
    one, other = set(a.lower().split()), set(b.lower().split())
    return len(one & other) < UNLIKE_WORDS * len(one | other)


def _item(number: int, true: Stretch, false: Sequence[Stretch]) -> Item:
    answer = number % (DISTRACTORS + 1)
    texts = [one.continuation for one in false]
    return Item(
        f"{KIND}-{number}",
        KIND,
        true.query,
        (*texts[:answer], true.continuation, *texts[answer:]),
        answer,
        source=true.source,
        about={
            "language": true.language,
            "document": true.doc_id.hex(),
            "distractors": [one.doc_id.hex() for one in false],
        },
    )
