"""The documents that the page shows, read once and cut to what can be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dataflow.report.clusters import Cluster, Document, Place, fetch, gather_members
from dataflow.report.collect import SpanTotals, Tally
from dataflow.report.diff import compare
from dataflow.report.highlight import excerpt, find_spans
from dataflow.report.inputs import ReportInputs, id_hex
from dataflow.report.markup import json_block, visible
from dataflow.report.numbers import plain
from dataflow.report.pools import Pool
from dataflow.report.rules import RuleTally

TEXT_LIMIT = 60_000
"""Characters of a document that are compared; what the page shows of it is far less."""

MARKED = 16_000
"""Characters in which an excerpt is looked for."""

NEAR_CLUSTERS = 24
COPY_GROUPS = 16
COMPARED = 2
"""Members of a cluster that are compared with their survivor."""

SIDE = 10
"""Borderline documents on either side of a threshold."""

EXCERPT_BYTES = 1_200_000
"""What all excerpts together may take, roughly; more rules show fewer documents each."""

MAX_URI = 240
MAX_LEDGER = 400


@dataclass(frozen=True)
class Samples:
    """JSON-ready data of the page, keyed as the script expects it."""

    rules: dict[str, dict[str, list[dict[str, Any]]]]
    near: list[dict[str, Any]]
    copies: list[dict[str, Any]]
    spans: dict[str, list[dict[str, Any]]]
    ledger: list[list[str]]


def clip(text: str, limit: int = MAX_URI) -> str:
    """A long name with its middle left out, ready to be shown."""
    text = visible(text)
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def take_samples(inputs: ReportInputs, tally: Tally, shown: list[tuple[str, RuleTally]]) -> Samples:
    """Read every document the page shows. ``shown`` are the rules with their keys on the page."""
    near, copies = _largest(tally)
    survivors = gather_members(inputs, near, copies)
    side = max(2, min(SIDE, EXCERPT_BYTES // (len(shown) * 2 * 900))) if shown else 0
    ledger = _ledger_picks(tally)
    wanted = {
        *survivors.values(),
        *(_place(pick) for _, rule in shown for pool in _pools(rule) for pick in pool.best(side)),
        *(_place(pick) for c in near for pick in c.pool.best(COMPARED)),
        *(_place(pick) for c in copies for pick in c.pool.picks[:4]),
        *(_place(pick) for totals in tally.spans.values() for pick in totals.pool.best(6)),
        *(_place(pick) for _, pick in ledger),
    }
    documents = fetch(inputs, wanted, TEXT_LIMIT)
    return Samples(
        rules=_fitted({key: _borderline(rule, documents, side) for key, rule in shown}, side),
        near=[_compared(cluster, documents, survivors) for cluster in near],
        copies=[_copies(cluster, documents) for cluster in copies],
        spans={clip(name): _cut(t, documents) for name, t in sorted(tally.spans.items())},
        ledger=[_ledger_row(group, pick, documents) for group, pick in ledger],
    )


def _place(pick: Any) -> Place:
    return Place(int(pick["partition"]), int(pick["row"]))


def _pools(rule: RuleTally) -> tuple[Pool, Pool, Pool]:
    return rule.kept, rule.dropped, rule.dropped_others


def _largest(tally: Tally) -> tuple[list[Cluster], list[Cluster]]:
    keys, sizes = tally.near_sizes.finish()
    near = [
        Cluster(int(k), int(n)) for k, n in zip(keys[:NEAR_CLUSTERS], sizes, strict=False) if n > 1
    ]
    keys, sizes = tally.copy_sizes.finish()
    # The survivor has the same text and is not counted among the dropped copies.
    groups = zip(keys[:COPY_GROUPS], sizes, strict=False)
    return near, [Cluster(int(k), int(n) + 1) for k, n in groups]


def _borderline(
    rule: RuleTally, documents: dict[Place, Document], side: int
) -> dict[str, list[dict[str, Any]]]:
    dropped = [*rule.dropped.best(side)]
    # Moving the threshold changes the fate of those that fail nothing else: they come first.
    dropped += [*rule.dropped_others.best(side)][: side - len(dropped)]
    return {
        "kept": [_sample(rule, pick, documents) for pick in rule.kept.best(side)],
        "dropped": [_sample(rule, pick, documents) for pick in dropped],
    }


def _fitted(
    rules: dict[str, dict[str, list[dict[str, Any]]]], side: int
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """As many documents a side as fit: scripts and escapes differ in bytes a character."""
    while side > 1 and len(json_block("", rules).encode()) > EXCERPT_BYTES * 1.2:
        side -= 1
        rules = {
            key: {name: docs[:side] for name, docs in sides.items()} for key, sides in rules.items()
        }
    return rules


def _sample(rule: RuleTally, pick: Any, documents: dict[Place, Document]) -> dict[str, Any]:
    document = documents[_place(pick)]
    value = float(pick["value"])
    text = document.text[:MARKED]
    return {
        **_name(document),
        "v": plain(value) if value == value else "",
        "o": int(pick["others"]),
        "x": excerpt(text, find_spans(rule.rule.signal, text)),
    }


def _name(document: Document) -> dict[str, str]:
    return {"u": clip(document.uri), "s": document.source, "d": document.doc_id}


def _compared(
    cluster: Cluster, documents: dict[Place, Document], survivors: dict[tuple[int, int], Place]
) -> dict[str, Any]:
    pairs = []
    for pick in cluster.pool.best(COMPARED):
        identity = cluster.survivors.get((int(pick["hi"]), int(pick["lo"])))
        if identity is None or identity not in survivors:
            continue
        member, survivor = documents[_place(pick)], documents[survivors[identity]]
        difference = compare(survivor.text, member.text)
        pairs.append(
            {
                "kept": _name(survivor),
                "gone": _name(member),
                "p": [list(piece) for piece in difference.pieces],
                "minus": difference.removed,
                "plus": difference.added,
                "whole": difference.exact and not (member.truncated or survivor.truncated),
            }
        )
    return {"n": cluster.size, "pairs": pairs}


def _copies(cluster: Cluster, documents: dict[Place, Document]) -> dict[str, Any]:
    members = [documents[_place(pick)] for pick in cluster.pool.picks[:4]]
    text = members[0].text if members else ""
    return {
        "n": cluster.size,
        "of": [_name(member) for member in members],
        "x": excerpt(text, (), 240),
    }


def _cut(totals: SpanTotals, documents: dict[Place, Document]) -> list[dict[str, Any]]:
    rows = []
    for pick in totals.pool.best(6):
        document = documents[_place(pick)]
        start, length = totals.starts[(int(pick["hi"]), int(pick["lo"]))]
        data = document.text.encode("utf-8", "replace")
        if document.truncated and start + length > len(data):
            continue
        low = len(data[:start].decode("utf-8", "ignore"))
        span = (low, low + len(data[start : start + length].decode("utf-8", "ignore")))
        rows.append({**_name(document), "x": excerpt(document.text, [span], 260)})
    return rows


def _ledger_picks(tally: Tally) -> list[tuple[tuple[str, str, str], Any]]:
    """A few documents of every outcome of every source, the first of each before the second."""
    ranked = [
        (rank, group, pick)
        for group, pool in sorted(tally.ledger.items())
        for rank, pick in enumerate(pool.picks)
    ]
    ranked.sort(key=lambda item: (item[0], item[1]))
    chosen = sorted(ranked[:MAX_LEDGER], key=lambda item: (item[1], item[0]))
    return [(group, pick) for _, group, pick in chosen]


def _ledger_row(
    group: tuple[str, str, str], pick: Any, documents: dict[Place, Document]
) -> list[str]:
    document = documents[_place(pick)]
    _, step, rule = group
    value = float(pick["value"])
    shown = plain(value) if value == value else ""
    outcome = f"{step} · {rule}" if step else "kept"
    identity = id_hex((pick["hi"], pick["lo"]))
    return [clip(document.uri), document.source, clip(outcome, 100), shown, identity]
