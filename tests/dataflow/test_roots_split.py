"""Roots do not depend on how rows are cut; splits hold whole clusters and are sticky."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dataflow.roots import add_roots, encode_value, rows_root
from dataflow.steps.columns import id_array
from dataflow.steps.order import exact_copies
from dataflow.steps.split import HELD_OUT, Sides, own_side

cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.binary(max_size=9),
    st.text(max_size=9),
)


@given(st.lists(st.tuples(st.binary(max_size=4), st.integers(0, 9)), max_size=30), st.randoms())
def test_root_is_of_the_multiset(rows: list[tuple[bytes, int]], random: object) -> None:
    schema = pa.schema({"a": pa.binary(), "b": pa.int64()})

    def table(part: list[tuple[bytes, int]]) -> pa.Table:
        return pa.table([[r[0] for r in part], [r[1] for r in part]], schema=schema)

    whole = rows_root(table(rows))
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    cut = len(rows) // 3
    assert add_roots([rows_root(table(shuffled[:cut])), rows_root(table(shuffled[cut:]))]) == whole
    if rows:
        assert rows_root(table(rows[1:])) != whole
        assert rows_root(table([*rows, rows[0]])) != whole


@given(st.lists(cells, max_size=4), st.lists(cells, max_size=4))
def test_encodings_of_different_rows_differ(left: list[object], right: list[object]) -> None:
    def encode(row: list[object]) -> bytes:
        return b"".join(encode_value(v) for v in row)

    # repr tells 1 from True and 0.0 from -0.0, as the encoding does.
    assert (encode(left) == encode(right)) == (repr(left) == repr(right))


def assign(
    content_id: pa.Array,
    cluster: np.ndarray,
    fraction: float,
    seed: int,
    remembered: np.ndarray | None = None,
    window: int = 7,
) -> np.ndarray:
    """The codes of all documents, as the step finds them: a window of them at a time."""
    sides = Sides(len(cluster), remembers=remembered is not None)
    for at in range(0, len(cluster), window):
        cut = slice(at, at + window)
        own = own_side(content_id[cut], fraction, seed)
        sides.add(cluster[cut], own, None if remembered is None else remembered[cut])
    return sides.of(cluster)


def _ids(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 16), dtype=np.uint8)


@given(st.integers(0, 2**63 - 1), st.integers(1, 200), st.floats(0, 1))
def test_a_cluster_is_on_one_side(seed: int, n: int, fraction: float) -> None:
    ids = _ids(seed % 1000, n)
    first = np.minimum.accumulate(np.random.default_rng(seed % 997).integers(0, n, n))
    cluster = np.minimum(first, np.arange(n)).astype(np.uint32)
    codes = assign(id_array(ids), cluster, fraction, seed)
    for name in np.unique(cluster):
        assert len(set(codes[cluster == name])) == 1


def test_the_fraction_is_held_out_and_seeds_differ() -> None:
    ids, alone = id_array(_ids(0, 20_000)), np.arange(20_000, dtype=np.uint32)
    codes = assign(ids, alone, 0.1, 0)
    assert abs(codes.mean() - 0.1) < 0.01
    assert (assign(ids, alone, 0.1, 1) != codes).any()
    assert not assign(ids, alone, 0.0, 0).any()


def test_what_was_held_out_stays_so_when_its_cluster_grows() -> None:
    ids = _ids(3, 4_000)
    before = assign(id_array(ids[:2_000]), np.arange(2_000, dtype=np.uint32), 0.2, 7)
    # Each old document is joined by a new one, which even becomes the first of the cluster.
    cluster = np.concatenate([np.arange(2_000), np.arange(2_000)]).astype(np.uint32)
    mixed = np.concatenate([ids[2_000:], ids[:2_000]])
    after = assign(id_array(mixed), cluster, 0.2, 7)[2_000:]
    assert (after[before == HELD_OUT] == HELD_OUT).all()


def test_memory_of_an_earlier_run_wins_and_held_out_wins_in_it() -> None:
    ids, cluster = id_array(_ids(1, 4)), np.asarray([0, 0, 2, 3], np.uint32)
    remembered = np.asarray([0, 1, 0, -1], np.int8)
    codes = assign(ids, cluster, 1.0, 0, remembered)
    assert codes.tolist() == [1, 1, 0, 1]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=50),
    st.lists(st.integers(0, 50), max_size=4),
)
def test_exact_survivor_is_the_first_with_the_content(
    content: list[tuple[int, int]], cuts: list[int]
) -> None:
    kind = [("high", "u8"), ("low", "u8"), ("rank", "u4")]
    records = np.sort(np.asarray([(*c, i) for i, c in enumerate(content)], kind))
    survivors = list(range(len(content)))
    for copies in exact_copies(np.split(records, sorted(cuts))):
        for rank, survivor in copies.tolist():
            assert survivors[rank] == rank
            survivors[rank] = survivor
    assert survivors == [content.index(c) for c in content]
