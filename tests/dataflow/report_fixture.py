"""A small run folder with every table filled, for the tests of the report."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from dataflow.ids import content_id, doc_id
from dataflow.tables import (
    DISPOSITIONS,
    DOCUMENTS,
    INDEX,
    MANIFEST,
    SPANS,
    UNREADABLE,
    Table,
    conform,
)
from quality.dialects import PRESETS
from quality.rules import Rule, decide
from quality.signals import schema
from tests.dataflow import report_text as words
from tests.dataflow.report_signals import shingles, signals

KEY = "0123456789abcdef"
HOSTILE = (
    "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    "<!--<script> &lt;b&gt; \u2028 \u202eevil\u202c ]]> ' \" ` ${alert(1)} <svg onload=alert(1)>"
)
"""Text that would take a careless page over."""

PROSE = (
    *PRESETS["gopher.quality"],
    *PRESETS["gopher.repetition"],
    *PRESETS["fineweb.quality"],
    Rule("lang.label", "lang.label", in_=("en", "fr", "de")),
    Rule("lang.score", "lang.score", min=0.65),
)
CODE = (
    Rule("code.words", "gopher.words", min=20),
    Rule("code.short_lines", "fineweb.short_line_ratio", max=0.45),
)
GROUPS = {"prose": PROSE, "code": CODE}


@dataclass
class Doc:
    """One invented record and what becomes of it."""

    source: str
    uri: str
    text: str
    language: str
    score: float
    license: str
    partition: int
    row: dict[str, Any] = field(default_factory=dict)
    fate: dict[str, Any] = field(default_factory=dict)
    spans: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def doc_id(self) -> bytes:
        return doc_id(self.source, self.uri, 0)

    @property
    def content_id(self) -> bytes:
        return content_id(self.text.encode())


def _prose_doc(rng: random.Random) -> tuple[str, str, float]:
    kind = rng.random()
    size = int(rng.lognormvariate(2.6, 0.9)) + 1
    score = round(min(0.99, rng.betavariate(12, 1.6)), 4)
    if kind < 0.62:
        return words.prose(rng, size), "en", score
    if kind < 0.76:
        language = rng.choice(("fr", "de", "zh"))
        return words.foreign(rng, language, size), language, score
    if kind < 0.84:
        text = words.menu(rng, rng.randint(8, 60)) + "\n" + words.prose(rng, rng.randint(0, 9))
        return text, "en", round(score * 0.8, 4)
    if kind < 0.93:
        return words.chorus(rng, rng.randint(6, 40)), "en", score
    return words.prose(rng, size) + "\n" + words.menu(rng, rng.randint(1, 12)), "en", score


def _documents(rng: random.Random, per_source: int) -> list[Doc]:
    docs: list[Doc] = []
    sources = {
        "stdlib": ("PSF-2.0", per_source),
        "packages": ("BSD-3-Clause", per_source),
        "share-doc": ("unknown", per_source // 2),
        "manpages": ("GPL-2.0-or-later", per_source // 3),
        "licences": ("MIT", per_source // 3),
        "web": ("unknown", per_source * 2),
    }
    templates = [words.prose(rng, 18) for _ in range(2)]
    for source, (license_, count) in sources.items():
        for i in range(count):
            if source == "stdlib":
                text, language, score = words.code(rng, rng.randint(1, 14)), "en", 0.82
            elif source == "licences":
                template = rng.choice(templates)
                text, language, score = words.altered(rng, template, rng.randint(0, 4)), "en", 0.97
            else:
                text, language, score = _prose_doc(rng)
                if docs and rng.random() < 0.08:
                    twin = rng.choice(docs)
                    text, language = twin.text, twin.language
                    if rng.random() < 0.6:
                        text = words.altered(rng, text, rng.randint(1, 3))
            if rng.random() < 0.03:
                text = text.replace(". ", ".\x07 ", 2)
            suffix = "py" if source == "stdlib" else "txt"
            uri = f"{source}:lib/part{i % 17}/document-{i:04d}.{suffix}"
            docs.append(Doc(source, uri, text, language, score, license_, i % 2))
    evil = f"{HOSTILE} {HOSTILE} {words.prose(rng, 14)}"
    docs.append(Doc("web", f"https://example.org/{HOSTILE}", evil, "en", 0.9, HOSTILE, 0))
    docs.append(Doc("web", "https://example.org/twin", f"{evil} Twin.", "en", 0.9, "unknown", 0))
    return docs


def _settle(docs: list[Doc]) -> None:
    """Rules, exact copies, near duplicates and control characters, the plain way."""
    for source in dict.fromkeys(doc.source for doc in docs):
        rules = GROUPS["code" if source == "stdlib" else "prose"]
        mine = [doc for doc in docs if doc.source == source]
        table = pa.Table.from_pylist([doc.row for doc in mine])
        for doc, rule, value, threshold in zip(mine, *decide(table, rules), strict=True):
            if rule >= 0:
                numbers = {"value": float(value), "threshold": float(threshold)}
                if value != value:
                    numbers = {}
                doc.fate = {"step": "decide", "rule": rules[rule].name, **numbers}
    survivors: list[tuple[Doc, set[str]]] = []
    by_content: dict[bytes, Doc] = {}
    for doc in sorted((d for d in docs if not d.fate), key=lambda d: d.doc_id):
        if (twin := by_content.get(doc.content_id)) is not None:
            doc.fate = {"step": "dedup", "rule": "exact", "survivor": twin.doc_id}
            continue
        by_content[doc.content_id] = doc
        mine_ = shingles(doc.text)
        for other, theirs in survivors:
            union = len(mine_ | theirs)
            jaccard = len(mine_ & theirs) / union if union else 0.0
            if jaccard >= 0.8:
                cluster = other.fate.setdefault("cluster", other.content_id)
                doc.fate = {
                    "step": "dedup",
                    "rule": "near",
                    "value": jaccard,
                    "threshold": 0.8,
                    "survivor": other.doc_id,
                    "cluster": cluster,
                }
                break
        else:
            survivors.append((doc, mine_))
    for doc in docs:
        if "step" in doc.fate:
            continue
        data = doc.text.encode()
        doc.spans = [("control", i, 1) for i, byte in enumerate(data) if byte == 7]


def _disposition(doc: Doc) -> dict[str, Any]:
    size = len(doc.text.encode())
    kept = "step" not in doc.fate
    removed = len(doc.spans) if kept else 0
    empty = dict.fromkeys(("step", "rule", "value", "threshold", "cluster", "survivor"))
    return {
        **empty,
        **doc.fate,
        "doc_id": doc.doc_id,
        "source": doc.source,
        "kept": kept,
        "text_bytes": size,
        "kept_bytes": size - removed if kept else 0,
        "removed_bytes": removed,
        "inserted_bytes": 0,
    }


def _document(doc: Doc) -> dict[str, Any]:
    return {
        "doc_id": doc.doc_id,
        "content_id": doc.content_id,
        "source": doc.source,
        "uri": doc.uri,
        "offset": 0,
        "captured_at": None,
        "license": doc.license,
        "rights": [],
        "parent_id": None,
        "source_digest": doc.content_id,
        "media_type": "text/plain",
        "encoding": "utf-8",
        "metadata": None,
        "text": doc.text,
        "images": [],
        "loss": [],
    }


def _write(run: Path, path: str, rows: list[dict[str, Any]], table: Table) -> str:
    (run / path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(conform(pa.Table.from_pylist(rows, schema=table.schema), table), run / path)
    return path


def _write_signals(run: Path, name: str, docs: list[Doc]) -> list[str]:
    paths = []
    for producer in ("scan", "language"):
        kind = schema(producer)
        columns = [pa.array([doc.row[n] for doc in docs], kind.field(n).type) for n in kind.names]
        path = f"signals/{producer}/{name}-{KEY}.parquet"
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        # Another row group size than the documents': what reads both must not rely on it.
        pq.write_table(pa.table(columns, schema=kind), run / path, row_group_size=37)
        paths.append(path)
    return paths


def _index_row(doc: Doc, position: int) -> dict[str, Any]:
    heldout = doc.content_id[0] < 6
    size = len(doc.text.encode())
    return {
        "doc_id": doc.doc_id,
        "content_id": doc.content_id,
        "shard": "heldout-000000" if heldout else "train-000000",
        "member": f"{position:09d}",
        "text_offset": 512 * position,
        "text_bytes": size,
        "token_offset": 512 * position,
        "tokens": size // 4 + 1,
        "source": doc.source,
        "language": doc.language,
        "license": doc.license,
        "tier": "unscored",
        "domain": None,
        "split": "heldout" if heldout else "train",
        "cluster": doc.fate.get("cluster"),
        "images": [],
    }


def summary(docs: int, text_bytes: int) -> dict[str, Any]:
    """What the build would have written about its cost."""
    speeds = {
        "read": 9.0, "scan": 27.0, "language": 3.1, "decide": 900.0, "order": 700.0,
        "buckets": 300.0, "near": 60.0, "settle": 150.0, "pack": 220.0, "tokenize": 8.5,
    }  # fmt: skip
    steps = [
        {
            "step": step,
            "tasks": 12,
            "seconds": text_bytes / speed / 1e6,
            "wall_seconds": text_bytes / speed / 1.9e6,
            "bytes_in": text_bytes,
            "bytes_out": text_bytes // 3,
            "documents": docs,
            "peak_rss": 210_000_000 + 9_000_000 * i,
        }
        for i, (step, speed) in enumerate(speeds.items())
    ]
    return {
        "name": "quickstart",
        "logical_root": "9f" * 32,
        "file_root": "c4" * 32,
        "steps": steps,
        "workers": 2,
        "wall_seconds": sum(text_bytes / speed / 1.9e6 for speed in speeds.values()) * 1.1,
        "peak_pss": 1_240_000_000,
    }


def write_run(run: Path, per_source: int = 120, seed: int = 7) -> list[Doc]:
    """Write a run folder; return its documents with their fates."""
    rng = random.Random(seed)
    docs = _documents(rng, per_source)
    for doc in docs:
        doc.row = {
            **signals(doc.text),
            "lang.label": doc.language,
            "lang.score": doc.score,
        }
    _settle(docs)
    paths = []
    for source in dict.fromkeys(doc.source for doc in docs):
        for number in (0, 1):
            mine = [doc for doc in docs if doc.source == source and doc.partition == number]
            name = f"{source}-{number:05d}"
            paths += _write_signals(run, name, mine)
            spans = [
                {"doc_id": d.doc_id, "rule": r, "start": s, "length": n, "inserted": 0}
                for d in mine
                for r, s, n in d.spans
            ]
            bad = [
                {
                    "source": source,
                    "uri": f"{source}:broken-{i}",
                    "offset": 0,
                    "reason": rng.choice(("truncated", "encoding", "too_large", HOSTILE[:40])),
                    "detail": f"gzip member ends after {i} bytes {HOSTILE}",
                }
                for i in range(rng.randint(0, 5))
            ]
            for folder, rows, table in (
                ("documents", [_document(d) for d in mine], DOCUMENTS),
                ("ledger/dispositions", [_disposition(d) for d in mine], DISPOSITIONS),
                ("ledger/spans", spans, SPANS),
                ("ledger/unreadable", bad, UNREADABLE),
            ):
                paths.append(_write(run, f"{folder}/{name}-{KEY}.parquet", rows, table))
    kept = [doc for doc in docs if "step" not in doc.fate]
    rows = [_index_row(doc, i) for i, doc in enumerate(kept)]
    paths.append(_write(run, f"index/train-000000-{KEY}.parquet", rows, INDEX))
    manifest = [
        {"path": p, "kind": p.split("/")[0], "name": p, "bytes": 1, "blake3": "00", "rows": None}
        for p in paths
    ]
    _write(run, "manifest.parquet", manifest, MANIFEST)
    lock = {
        "name": "quickstart",
        "sources": [
            {"name": s, "rules": "code" if s == "stdlib" else "prose"}
            for s in dict.fromkeys(doc.source for doc in docs)
        ],
        "rules": {name: [rule.to_json() for rule in rules] for name, rules in GROUPS.items()},
        "dedup": {"near": {"ngram": 5, "bands": 14, "rows": 8, "threshold": 0.8}},
        "lock": {"format": 1, "packages": {"pyarrow": "26.0.1"}},
    }
    (run / "recipe.lock.yaml").write_text(yaml.safe_dump(lock))
    (run / "journal").mkdir()
    size = sum(len(doc.text.encode()) for doc in docs)
    (run / "journal/summary.json").write_text(json.dumps(summary(len(docs), size)))
    return docs
