"""The page's numbers against the documents they were counted from."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow.report import ReportError, load_inputs, local_opener, write_report
from dataflow.report import inputs as reading
from dataflow.report.collect import collect
from dataflow.report.inputs import group_paths, id_halves
from dataflow.report.page import write_report as page
from dataflow.report.pools import Rows
from dataflow.report.rules import RuleBook
from dataflow.report.sections.rules import shown_rules
from quality.rules import Rule, failures
from tests.dataflow.report_fixture import GROUPS, HOSTILE, KEY, Doc, write_run
from tests.dataflow.test_report_markup import Reader

MAX_BYTES = 3_000_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Doc]]:
    run = tmp_path_factory.mktemp("run")
    return run, write_run(run, per_source=45)


@pytest.fixture(scope="module")
def html(built: tuple[Path, list[Doc]]) -> str:
    return write_report(load_inputs(local_opener(built[0])))


def embedded(html: str) -> dict[str, dict[str, dict[str, list[dict[str, object]]]]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data: dict[str, dict[str, dict[str, list[dict[str, object]]]]] = json.loads(found[1])
    return data


def test_flows_are_those_of_the_documents(built: tuple[Path, list[Doc]]) -> None:
    run, docs = built
    tally = collect(load_inputs(local_opener(run)))
    for source, totals in tally.sources.items():
        mine = [doc for doc in docs if doc.source == source]
        kept = [doc for doc in mine if "step" not in doc.fate]
        size = sum(len(doc.text.encode()) for doc in mine)
        assert (totals.read.documents, totals.read.bytes) == (len(mine), size)
        assert totals.kept.documents == len(kept)
        assert totals.tokens == sum(len(doc.text.encode()) // 4 + 1 for doc in kept)
        drops = Counter((d.fate["step"], d.fate["rule"]) for d in mine if "step" in d.fate)
        assert {key: flow.documents for key, flow in totals.drops.items()} == drops
        assert totals.read.documents == totals.kept.documents + totals.dropped().documents
        cut = totals.removed_bytes - totals.inserted_bytes
        assert totals.read.bytes == totals.kept.bytes + totals.dropped().bytes + cut


def test_rules_are_measured_alone_and_at_the_margin(built: tuple[Path, list[Doc]]) -> None:
    run, docs = built
    tally = collect(load_inputs(local_opener(run)))
    prose = [doc for doc in docs if doc.source != "stdlib"]
    fails = failures(pa.Table.from_pylist([doc.row for doc in prose]), GROUPS["prose"])
    sizes = np.array([len(doc.text.encode()) for doc in prose])
    for r, rule in enumerate(GROUPS["prose"]):
        counted = tally.book.tallies[(rule.name, rule.describe())]
        only = fails[:, r] & (fails.sum(axis=1) == 1)
        assert counted.applies == len(prose)
        assert (counted.alone, counted.alone_bytes) == (fails[:, r].sum(), sizes[fails[:, r]].sum())
        assert (counted.marginal, counted.marginal_bytes) == (only.sum(), sizes[only].sum())
        if counted.histogram is not None:
            assert counted.histogram.counts.sum(axis=1).tolist() == [
                (~fails[:, r]).sum(),
                fails[:, r].sum(),
            ]
    # The fair shares of all rules add up to the documents that any of them drops.
    shares = [tally.book.tallies[(r.name, r.describe())].credit for r in GROUPS["prose"]]
    assert sum(shares) == pytest.approx(fails.any(axis=1).sum())


def test_a_rule_says_nothing_of_nulls_and_unmet_conditions() -> None:
    rule = Rule.from_json({"name": "w", "signal": "gopher.words", "min": 5,
                           "when": {"lang.label": {"in": ["en"]}}})  # fmt: skip
    book = RuleBook({"s": [rule]})
    table = pa.table(
        {
            "gopher.words": pa.array([1, 9, None, 1], pa.int32()),
            "lang.label": ["en", "en", "en", "de"],
        }
    )
    ids = np.arange(8, dtype=np.uint64).reshape(4, 2)
    book.add("s", table, Rows(0, 0, ids, ids), np.arange(4), np.full(4, 10))
    (tally,) = book.tallies.values()
    assert (tally.applies, tally.alone, tally.marginal_bytes) == (2, 1, 10)


def test_borderline_documents_are_the_nearest(built: tuple[Path, list[Doc]], html: str) -> None:
    run, docs = built
    tally = collect(load_inputs(local_opener(run)))
    keys = {rule.rule.name: key for key, rule in shown_rules(tally)}
    samples = embedded(html)["rules"][keys["gopher.stop_words"]]
    prose = [doc for doc in docs if doc.source != "stdlib"]
    fails = failures(pa.Table.from_pylist([doc.row for doc in prose]), GROUPS["prose"])
    passing = [doc.row["gopher.stop_words"] for doc, bad in zip(prose, fails, strict=True)
               if not bad.any()]  # fmt: skip
    values = [int(str(sample["v"])) for sample in samples["kept"]]
    assert values == sorted(values)
    assert values[0] == min(passing)
    assert all(int(str(sample["v"])) < 2 for sample in samples["dropped"])
    others = [int(str(sample["o"])) for sample in samples["dropped"]]
    assert others == sorted(others, key=bool), "documents that fail nothing else come first"


def test_largest_cluster_is_compared_with_its_survivor(
    built: tuple[Path, list[Doc]], html: str
) -> None:
    _, docs = built
    sizes = Counter(doc.fate["cluster"] for doc in docs if doc.fate.get("cluster"))
    near = embedded(html)["near"]
    assert isinstance(near, list)
    assert near[0]["n"] == max(sizes.values())
    by_id = {doc.doc_id.hex(): doc for doc in docs}
    for pair in near[0]["pairs"]:
        gone, kept = by_id[pair["gone"]["d"]], by_id[pair["kept"]["d"]]
        assert gone.fate["survivor"] == kept.doc_id
        assert any(kind in "-+" for kind, _ in pair["p"])


def test_every_section_and_source_is_there(html: str) -> None:
    reader = Reader(html)
    ids = {value for name, value in reader.attributes if name == "id"}
    assert {"flow", "reasons", "rules", "duplicates", "corpus", "cost", "why"} <= ids
    for text in ("stdlib", "manpages", "near duplicates", "9f9f9f", "gopher.dup_line_frac"):
        assert text in reader.text
    assert "over half dropped" in reader.text, "the licences lose more than half"
    assert "512 B kept tokens" in reader.text


def test_the_page_asks_for_nothing_and_runs_only_its_own_script(html: str) -> None:
    reader = Reader(html)
    assert reader.tags.count("script") == 2
    assert not set(reader.tags) & {"img", "link", "iframe", "object", "embed", "form", "base"}
    names = {name for name, _ in reader.attributes}
    assert not {name for name in names if name.startswith("on")} | (names & {"src", "style"})
    links = [value for name, value in reader.attributes if name == "href"]
    assert all(link and link.startswith("#") for link in links)
    policy = next(v for n, v in reader.attributes if n == "content" and v and "default-src" in v)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert HOSTILE not in html


def test_the_page_does_not_depend_on_how_the_tables_are_read(
    built: tuple[Path, list[Doc]], html: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = built
    whole = reading.aligned

    def small(inputs: object, files: object, rows: int = 13) -> object:
        return whole(inputs, files, rows)  # type: ignore[arg-type]

    monkeypatch.setattr("dataflow.report.collect.aligned", small)
    monkeypatch.setattr("dataflow.report.clusters.aligned", small)
    assert page(load_inputs(local_opener(run))) == html


def test_the_page_stays_small(tmp_path: Path) -> None:
    docs = write_run(tmp_path, per_source=6)
    # One document of every partition becomes long, and full of what takes most bytes in JSON.
    for path in sorted((tmp_path / "documents").iterdir()):
        table = pq.read_table(path)
        texts = [(text + "<&>文") * 900 for text in table["text"].to_pylist()]
        uris = [uri + "文" * 5000 for uri in table["uri"].to_pylist()]
        for name, values in (("text", texts), ("uri", uris)):
            at = table.schema.get_field_index(name)
            field = table.schema.field(at)
            table = table.set_column(at, field, pa.array(values, field.type))
        pq.write_table(table, path)
    html = page(load_inputs(local_opener(tmp_path)))
    assert len(docs) > 20
    assert len(html.encode()) < MAX_BYTES


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    write_run(tmp_path, per_source=2)
    inputs = load_inputs(local_opener(tmp_path))
    empty = dataclasses.replace(inputs, partitions=(), index=(), summary={})
    reader = Reader(page(empty))
    assert "Nothing was read from: " in reader.text


def test_a_partition_without_its_ledger_is_an_error() -> None:
    with pytest.raises(ReportError, match=r"web-00000.*dispositions"):
        group_paths([f"{folder}/web-00000-{KEY}.parquet" for folder in
                     ("documents", "signals/scan", "signals/language")])  # fmt: skip


def test_tables_that_differ_in_rows_are_an_error(tmp_path: Path) -> None:
    write_run(tmp_path, per_source=4)
    path = next((tmp_path / "signals/scan").iterdir())
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ReportError, match="row-aligned"):
        page(load_inputs(local_opener(tmp_path)))


def test_a_missing_signal_is_an_error(tmp_path: Path) -> None:
    write_run(tmp_path, per_source=4)
    for path in (tmp_path / "signals/scan").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(["gopher.words"]), path)
    with pytest.raises(ReportError, match=r"gopher\.words"):
        page(load_inputs(local_opener(tmp_path)))
    shutil.rmtree(tmp_path)


def test_ids_order_like_their_bytes() -> None:
    ids = [bytes([1] * 16), bytes([0] * 15 + [255]), bytes([255] * 16)]
    first, rest = pa.array(ids[:1], pa.binary(16)), pa.array(ids, pa.binary(16)).slice(1)
    halves = id_halves(pa.chunked_array([first, rest]))
    assert [int(h) << 64 | int(lo) for h, lo in halves] == [int.from_bytes(i) for i in ids]
    assert id_halves(pa.array([None, ids[0]], pa.binary(16)))[0].tolist() == [0, 0]
