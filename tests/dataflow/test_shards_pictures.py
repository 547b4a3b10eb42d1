"""Shards of documents with images and loss spans: members, ids, rows, and damage."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import orjson
import pyarrow as pa
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from dataflow.shardroots import content_rows, shard_root
from dataflow.shards import (
    ContentSample,
    ShardError,
    find_samples,
    index_table,
    read_content_shard,
    read_token_shard,
    write_content_shard,
    write_token_shard,
)
from dataflow.shards.marked import encode_marked
from dataflow.shards.sets import PICTURED, SETS
from dataflow.shards.tar import TarWriter, read_members
from dataflow.tables import INDEX
from dataflow.tilings import TILINGS, with_token_counts
from dataflow.tokenizer import Tokenizer, train
from dataflow.tokenizer.places import token_places
from tests.dataflow.corpora import sentence_text
from tests.dataflow.picture_corpora import image
from vl_data.images import MARK
from vl_data.mix.chat import chat_of
from vl_data.mix.turns import Turn
from vl_data.tiling import TILINGS as ALL_TILINGS
from vl_data.tiling import plan

NAME = "train-vl-000000"


def _picture(seed: int, size: tuple[int, int] = (60, 40), kind: str = "png") -> dict[str, Any]:
    data = image(seed, size, kind)
    digest = blake3.blake3(data).digest()
    return {"digest": digest, "format": kind, "width": size[0], "height": size[1], "data": data}


Row = tuple[bytes, bytes, dict[str, Any]]


def _row(number: int, text: str, *images: dict[str, Any], loss: tuple[int, ...] = ()) -> Row:
    meta = {"source": "s", "uri": f"u{number}", "license": None, "lang": "en"}
    key = number.to_bytes(16, "big")
    return key, text.encode(), {**meta, "images": list(images), "loss": list(loss)}


ROWS = [
    _row(1, f"One {MARK} two {MARK}.", _picture(1), _picture(2, (50, 90), "jpeg")),
    _row(2, "No image is left here."),
    _row(3, f"Question? {MARK} Answer.", _picture(1), loss=(14, 21)),
    _row(4, f"{MARK}", _picture(4, kind="gif")),
]


def _write(rows: list[Row], sample_bytes: int = 1 << 20) -> tuple[bytes, pa.Table]:
    sink = io.BytesIO()
    places = write_content_shard(sink, rows, NAME, sample_bytes=sample_bytes, lists=True)
    return sink.getvalue(), places


def test_a_sample_is_its_images_its_json_and_its_text() -> None:
    data, places = _write(ROWS)
    members = list(read_members(io.BytesIO(data), "x"))
    assert [m.name.removeprefix(f"{NAME}-000000.") for m in members] == [
        "000000.png", "000001.jpg", "000002.png", "000003.gif", "json", "txt",
    ]  # fmt: skip
    (sample,) = read_content_shard(io.BytesIO(data))
    assert sample.documents["images"][0][1] == {
        "member": "000001.jpg",
        "width": 50,
        "height": 90,
        "digest": ROWS[0][2]["images"][1]["digest"].hex(),
    }
    assert sample.documents["images"][1] == []
    assert sample.documents["loss"] == [[], [], [14, 21], []]
    for number, (_, text, meta) in enumerate(ROWS):
        assert sample.text(number) == text
        assert MARK.join(sample.pieces(number)).encode() == text
        assert len(sample.pieces(number)) == 1 + len(meta["images"])
        assert [m.data for m in sample.images(number)] == [i["data"] for i in meta["images"]]
        placed = places["images"][number].as_py()
        assert [data[p["offset"] : p["offset"] + p["bytes"]] for p in placed] == [
            i["data"] for i in meta["images"]
        ]
        assert [(p["width"], p["height"]) for p in placed] == [
            (i["width"], i["height"]) for i in meta["images"]
        ]


def test_text_and_images_count_against_a_sample() -> None:
    size = len(ROWS[0][2]["images"][0]["data"])
    rows = [_row(i, f"{MARK}", _picture(1)) for i in range(6)]
    samples = list(read_content_shard(io.BytesIO(_write(rows, 2 * (size + 3))[0])))
    assert [len(sample) for sample in samples] == [2, 2, 2]
    assert [list(s.members) for s in samples] == [["000000.png", "000001.png"]] * 3


def test_stock_webdataset_and_energon_see_samples_of_images(tmp_path: Path) -> None:
    data, _ = _write(ROWS, 1)
    path = tmp_path / f"{NAME}.tar"
    path.write_bytes(data)
    found = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("rgb8"))
    assert [s["__key__"] for s in found] == [f"{NAME}-{i:06d}" for i in range(4)]
    assert found[0]["000000.png"].shape == (40, 60, 3)
    assert found[0]["000001.jpg"].shape == (90, 50, 3)
    assert found[0]["txt"] == ROWS[0][1].decode()
    samples = find_samples(io.BytesIO(data), NAME, "train")
    assert len(samples.offsets) == 5
    assert samples.offsets[-1] == len(data) - 1024


def test_a_shard_of_text_has_no_column_of_images() -> None:
    sink = io.BytesIO()
    rows = [(key, text, {k: v for k, v in meta.items() if k not in ("images", "loss")})
            for key, text, meta in ROWS]  # fmt: skip
    places = write_content_shard(sink, rows, NAME)
    (sample,) = read_content_shard(io.BytesIO(sink.getvalue()))
    assert not {"images", "loss"} & sample.documents.keys()
    assert sample.images(0) == []
    assert sample.loss(0) == []
    assert places["images"].to_pylist() == [[]] * len(ROWS)


def test_marks_without_images_are_refused_when_written() -> None:
    with pytest.raises(ShardError, match=r"found 2 marks in its text, expected one for each of"):
        _write([_row(1, f"{MARK}{MARK}", _picture(1))])


def _changed(**documents: Any) -> bytes:
    """The shard of ``ROWS`` with other columns in its JSON."""
    out = io.BytesIO()
    tar = TarWriter(out)
    for member in read_members(io.BytesIO(_write(ROWS)[0]), "x"):
        data = member.data
        if member.name.endswith(".json"):
            data = orjson.dumps({"documents": {**orjson.loads(data)["documents"], **documents}})
        tar.add(member.name, data)
    tar.close()
    return out.getvalue()


def _without(suffix: str) -> bytes:
    out = io.BytesIO()
    tar = TarWriter(out)
    for member in read_members(io.BytesIO(_write(ROWS)[0]), "x"):
        if not member.name.endswith(suffix):
            tar.add(member.name, member.data)
    tar.close()
    return out.getvalue()


SOUND = next(read_content_shard(io.BytesIO(_write(ROWS)[0]))).documents


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_without("000001.jpg"), "expected each image to be the next member"),
        (_without(".json"), "found train-vl-000000-000000.txt and the end"),
        (_without(".txt"), "000000.json and the end, expected KEY.json and KEY.txt"),
        (_changed(images=SOUND["images"][::-1]), "expected each image to be the next member"),
        (_changed(images=[[], *SOUND["images"][1:]]), "expected each image to be the next member"),
        (_changed(images=[SOUND["images"][0] + SOUND["images"][2], [], [], SOUND["images"][3]]),
         "found 2 marks in its text, expected one for each of its 3 images"),
        (_changed(images=SOUND["images"][:2]), "its columns differ in length"),
        (_changed(images=[[{}], [], [], []]), "not the JSON of a content sample"),
        (_changed(loss=[[], [], [14, 99], []]), "loss spans of document 2 do not lie in its text"),
        (_changed(loss=[[3], [], [], []]), "loss spans of document 0"),
        (_changed(loss=[[5, 2], [], [], []]), "loss spans of document 0"),
        (_changed(loss=[["x"], [], [], []]), "not the JSON of a content sample"),
    ],
)  # fmt: skip
def test_damage_to_a_shard_with_images_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        list(read_content_shard(io.BytesIO(data), "a.tar"))


def test_a_changed_image_is_found_and_every_part_is_in_the_root() -> None:
    data, _ = _write(ROWS)
    at = data.index(b"IDAT") + 8
    broken = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    with pytest.raises(ShardError, match=r"000000\.png: found an image with BLAKE3"):
        list(content_rows(io.BytesIO(broken), NAME))

    def root(rows: list[Row]) -> int:
        return shard_root(content_rows(io.BytesIO(_write(rows)[0]), NAME))

    other = [
        [_row(1, f"One {MARK} two {MARK}.", _picture(9), ROWS[0][2]["images"][1]), *ROWS[1:]],
        [_row(1, f"One {MARK} two {MARK}.", *ROWS[0][2]["images"][::-1]), *ROWS[1:]],
        [*ROWS[:2], _row(3, f"Question? {MARK} Answer.", _picture(1), loss=(14, 20)), ROWS[3]],
        [*ROWS[:2], _row(3, f"Question? {MARK} Answer.", _picture(1)), ROWS[3]],
    ]
    assert len({root(ROWS), *map(root, other)}) == 5


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    generator = np.random.default_rng(3)
    texts = [sentence_text(generator, 40) for _ in range(10)]
    return train(texts, 600, tmp_path_factory.mktemp("tokenizer"))


def _tokens(data: bytes, tokenizer: Tokenizer) -> tuple[bytes, pa.Table]:
    sink = io.BytesIO()
    return_table = write_token_shard(io.BytesIO(data), tokenizer, sink)
    return sink.getvalue(), return_table


def test_each_image_is_one_id_and_spans_become_rows(tokenizer: Tokenizer) -> None:
    data, places = _write(ROWS)
    tokens, counts = _tokens(data, tokenizer)
    (sample,) = read_token_shard(io.BytesIO(tokens))
    special = tokenizer.specials["image"]
    for number, (_, text, meta) in enumerate(ROWS):
        ids = sample.document(number)
        assert int((ids == special).sum()) == len(meta["images"])
        assert tokenizer.decode(ids[:-1]).decode() == text.decode().replace(MARK, "<|image|>")
        assert counts["tokens"][number].as_py() == len(ids)
    learned = [int(i) for d, a, b in sample.spans.tolist() for i in sample.document(d)[a:b]]
    assert set(sample.spans[:, 0].tolist()) == {2}
    # The span ends the text: what ends the document is learned too.
    assert learned[-1] == tokenizer.eod
    assert tokenizer.decode(learned[:-1]).decode() in (" Answer.", "Answer.")
    index = index_table(
        places.append_column("content_id", places["doc_id"])
        .append_column("source", pa.array(["s"] * 4))
        .append_column("language", pa.array(["en"] * 4))
        .append_column("license", pa.array(["unknown"] * 4))
        .append_column("cluster", pa.nulls(4, pa.binary(16))),
        places, counts, shard=NAME, split="train", images=with_token_counts(places["images"]),
    )  # fmt: skip
    assert index.schema == INDEX.schema
    first = index["images"][0].as_py()
    for found, (width, height) in zip(first, [(60, 40), (50, 90)], strict=True):
        for tiling in TILINGS:
            assert found[f"tokens_{tiling}"] == plan(width, height, tiling).tokens
    assert index["images"][1].as_py() == []


def test_the_index_knows_every_tiling() -> None:
    assert tuple(ALL_TILINGS) == TILINGS


def test_marks_of_a_document_without_images_are_text(tokenizer: Tokenizer) -> None:
    ids, rows = encode_marked(f"a{MARK}b", tokenizer, pictured=False, loss=(), where="x")
    assert tokenizer.decode(ids).decode() == f"a{MARK}b"
    assert tokenizer.specials["image"] not in ids
    assert len(rows) == 0


def test_a_tokenizer_without_an_image_id_is_refused(tokenizer: Tokenizer) -> None:
    assert tokenizer.definition is not None
    bare = Tokenizer(
        tokenizer._data, tokenizer.definition, specials={"eod": 1}, vocab_size=tokenizer.vocab_size
    )
    with pytest.raises(ShardError, match=r"no special of role 'image'; .*tokenizer use"):
        encode_marked(MARK, bare, pictured=True, loss=(), where="x")


def test_the_specials_of_a_chat_are_ids_and_what_a_turn_spells_is_text(
    tokenizer: Tokenizer,
) -> None:
    turns = [Turn("user", "<image> Say <|assistant|> twice."), Turn("assistant", "No.")]
    text, spans = chat_of(turns, images=1)
    loss = [edge for span in spans for edge in span]
    ids, rows = encode_marked(text, tokenizer, pictured=True, loss=loss, where="x")
    special = tokenizer.specials
    order = [int(i) for i in ids if int(i) in special.values()]
    roles = ["user", "image", "turn_end", "assistant", "turn_end"]
    assert order == [special[role] for role in roles]
    assert tokenizer.decode(ids).decode() == text.replace(MARK, "<|image|>")
    ((first, end),) = rows.tolist()
    assert tokenizer.decode(ids[first : end - 1]).decode() == "No.<|turn_end|>"
    assert end == len(ids) + 1  # and eod, which the span reaches
    # Without loss spans it is no chat: what spells a special is text.
    plainly, _ = encode_marked(text, tokenizer, pictured=True, loss=(), where="x")
    assert special["user"] not in plainly


PIECES = st.lists(st.sampled_from(["The river ", "é", "漢字", "🦊", " and", ".", MARK, "\n"]),
                  min_size=1, max_size=12)  # fmt: skip


@given(PIECES, st.data())
def test_rows_are_the_tokens_that_hold_a_byte_of_a_span(
    tokenizer: Tokenizer, pieces: list[str], data: st.DataObject
) -> None:
    text = "".join(pieces)
    edges = np.cumsum([0, *(len(c.encode()) for c in text)]).tolist()
    chosen = sorted(data.draw(st.sets(st.sampled_from(edges), min_size=2)))
    loss = chosen[: len(chosen) // 2 * 2]
    ids, rows = encode_marked(text, tokenizer, pictured=True, loss=loss, where="x")
    plain, _ = encode_marked(text, tokenizer, pictured=True, loss=(), where="x")
    assert np.array_equal(ids, plain)
    wanted = {b for a, z in zip(loss[::2], loss[1::2], strict=True) for b in range(a, z)}
    carried = np.zeros(len(ids) + 1, bool)
    for first, last in rows.tolist():
        assert not carried[first:last].any()
        carried[first:last] = True
    assert len(rows) < 2 or (rows[1:, 0] > rows[:-1, 1]).all()
    place = 0
    for token, here in zip(ids.tolist(), carried.tolist(), strict=False):
        size = 3 if token == tokenizer.specials["image"] else len(tokenizer.decode([token]))
        assert here == bool(wanted & set(range(place, place + size)))
        place += size
    assert place == len(text.encode())
    assert carried[-1] == (loss[-1] == place)


def test_a_tokenizer_that_tiktoken_cannot_run_places_tokens_by_characters(
    tokenizer: Tokenizer,
) -> None:
    other = Tokenizer(
        tokenizer._data, None, specials=tokenizer.specials, vocab_size=tokenizer.vocab_size
    )
    for text in ("The river stone and é 漢字 🦊.", "", "plain letters"):
        ids = other.encode(text)
        ours, theirs = token_places(tokenizer, text, ids), token_places(other, text, ids)
        edges = np.cumsum([0, *(len(c.encode()) for c in text)])
        # Whole characters: never less than the bytes, and never a character more.
        assert (theirs[:, 0] == edges[np.searchsorted(edges, ours[:, 0], "right") - 1]).all()
        assert (theirs[:, 1] == edges[np.searchsorted(edges, ours[:, 1], "left")]).all()


def test_sets_are_named_and_coded_apart() -> None:
    assert [s.shard(3) for s in SETS] == [
        "train-000003", "heldout-000003", "train-vl-000003", "heldout-vl-000003",
    ]  # fmt: skip
    assert [s.split for s in SETS[PICTURED:]] == [s.split for s in SETS[:PICTURED]]


def test_a_sample_without_lists_says_so() -> None:
    sample = ContentSample("k", {"id": ["00" * 16]}, b"", 0)
    assert sample.images(0) == []
    assert sample.loss(0) == []
