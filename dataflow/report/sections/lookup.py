"""How to ask for one document's story, a sample of the ledger, and what certifies the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from dataflow.report.markup import Child, Safe, tag
from dataflow.report.numbers import exact
from dataflow.report.samples import Samples, clip
from dataflow.report.sections.parts import Column, Row, code, section, table

MAX_LOCK = 60_000


def lookup_section(samples: Samples) -> Safe:
    """The command that answers for any document, and a few documents of every outcome."""
    columns = [
        Column("Document", False),
        Column("Source", False),
        Column("Outcome", False),
        Column("Value"),
    ]
    rows = [
        Row([tag("bdi", uri, class_="uri", title=identity), source, outcome, value])
        for uri, source, outcome, value, identity in samples.ledger
    ]
    return section(
        "why",
        "Why was this document dropped?",
        [
            "The ledger answers for every document, in less than a second: ",
            code("python -m dataflow why RUN DOC_OR_URI"),
            " (or ",
            code("make why DOC=…"),
            f"). Below are {exact(len(rows))} of them, a few of every outcome of every source.",
        ],
        tag(
            "label",
            "Filter ",
            tag(
                "input",
                type="search",
                id="filter",
                placeholder="part of a name, a source, a rule …",
                autocomplete="off",
                spellcheck="false",
            ),
            tag("output", id="matches", for_="filter"),
            class_="search",
        ),
        tag("div", table(columns, rows, "A sample of the ledger."), class_="ledger"),
    )


def certificate_section(summary: Mapping[str, Any], lock: Mapping[str, Any]) -> Safe:
    """The two roots, the packages that shape output, and the recipe."""
    packages = (lock.get("lock") or {}).get("packages") or {}
    roots: list[Child] = [
        _root("Logical root", summary.get("logical_root"), "canonical rows of documents, decisions "
              "and shard contents: equal for any number of workers, partition size or crash"),
        _root("File root", summary.get("file_root"), "the bytes of all files, for one set of "
              "package versions"),
    ]  # fmt: skip
    text = yaml.safe_dump(dict(lock), sort_keys=False, allow_unicode=True, width=100)
    cut = len(text) > MAX_LOCK
    return section(
        "certificate",
        "Certificate",
        [
            "Two hashes certify this run; ",
            code("python -m dataflow verify RUN"),
            " computes them again from the files. This page and all timings stand outside.",
        ],
        tag("dl", *roots, class_="roots"),
        tag(
            "p",
            "Packages that shape output: ",
            ", ".join(f"{clip(str(n), 60)} {clip(str(v), 40)}" for n, v in packages.items()),
            ".",
        )
        if packages
        else None,
        tag(
            "details",
            tag("summary", "The recipe, every default spelled out"),
            tag("pre", text[:MAX_LOCK] + ("\n…" if cut else ""), tabindex=0),
        ),
    )


def _root(name: str, value: Any, meaning: str) -> Safe:
    shown = str(value) if value else "not computed yet"
    return tag(
        "div", tag("dt", name, " ", tag("small", meaning)), tag("dd", code(shown), class_="root")
    )
