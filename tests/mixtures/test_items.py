"""Items made of held-out text, what they give away, and items looked for in train documents."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest

from dataflow.run import Run
from mixtures.command import main
from mixtures.items.baselines import baselines
from mixtures.items.contamination import check
from mixtures.items.errors import ItemsError
from mixtures.items.generating import generate
from mixtures.items.grams import GramSet, grams
from mixtures.items.item import Item, read_items, write_items
from mixtures.items.stretches import Sizes
from tests.mixtures.made_texts import Text, make_texts

SOURCES = ("books", "code", "notes")
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def text_of(draw: np.random.Generator, words: int) -> str:
    lengths = draw.integers(2, 9, words)
    found = ["".join(draw.choice(LETTERS, n)) for n in lengths]
    return "".join(w + ("\n" if n % 17 == 16 else " ") for n, w in enumerate(found)).strip()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    draw = np.random.default_rng(0)
    held = [
        Text(SOURCES[n % 3], text_of(draw, int(draw.integers(40, 500))), "de" if n % 5 else "en")
        for n in range(150)
    ]
    train = [Text("books", text_of(draw, 200)) for _ in range(30)]
    return make_texts(tmp_path_factory.mktemp("texts"), train, held, together=40)


def held_out_texts(run: Run) -> dict[str, Text]:
    from mixtures.items.corpus_texts import samples, shards_of

    return {
        sample.doc_id(i).hex(): Text(
            sample.documents["source"][i], sample.text(i).decode(), sample.documents["lang"][i]
        )
        for shard in shards_of(run, held_out=True)
        for sample in samples(run, shard)
        for i in range(len(sample))
    }


def test_items_are_stretches_against_like_ones(run: Run) -> None:
    sizes = Sizes(120, 40)
    items = generate(run, 180, seed=3, sizes=sizes).items
    texts = held_out_texts(run)
    assert len(items) == 180
    for item in items:
        own = texts[item.about["document"]]
        assert f"{item.query} {item.right}" in own.text  # as written, one blank between
        assert item.source == own.source
        assert 120 <= len(item.query.encode()) <= 150
        size = len(item.right.encode())
        assert 40 <= size <= 56
        false = [c for n, c in enumerate(item.choices) if n != item.answer]
        others = [texts[one] for one in item.about["distractors"]]
        assert len({item.about["document"], *item.about["distractors"]}) == 4
        for choice, other in zip(false, others, strict=True):
            assert choice in other.text
            assert (other.source, other.language) == (own.source, own.language)
            assert abs(len(choice.encode()) - size) <= 0.1 * size
        assert len(set(item.choices)) == 4
    assert set(Counter(item.answer for item in items).values()) == {45}
    assert Counter(item.source for item in items) == dict.fromkeys(SOURCES, 60)


def test_the_same_content_and_seed_give_the_same_items(run: Run) -> None:
    sizes = Sizes(120, 40)
    first = generate(run, 90, seed=3, sizes=sizes)
    assert first == generate(run, 90, seed=3, sizes=sizes)
    other = generate(run, 90, seed=4, sizes=sizes)
    assert [i.query for i in first.items] != [i.query for i in other.items]
    again = generate(run, 30, seed=3, sizes=sizes, sources=["code"])
    assert {item.source for item in again.items} == {"code"}
    but = generate(run, 30, seed=3, sizes=sizes, except_sources=["code"])
    assert {item.source for item in but.items} == {"books", "notes"}


def test_what_needs_no_model_is_at_chance(run: Run) -> None:
    made = generate(run, 180, sizes=Sizes(60, 30))
    for one in baselines(made.items):
        assert one.chance == 0.25
        assert not one.above, one
    given_away = [Item(str(n), "k", "q", ("a" * 9, "b", "c"), 0) for n in range(40)]
    assert baselines(given_away)[0].above
    assert baselines(given_away)[1].accuracy == 0


def test_too_little_text_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ItemsError, match=r"items \(books \d+, code \d+, notes \d+\), expected"):
        generate(run, 10**6)
    with pytest.raises(ItemsError, match="of films, expected some of books, code, notes"):
        generate(run, 10, sources=["films", "code"])
    copies = [Text("books", "the same words in a row " * 40 + str(n)) for n in range(20)]
    with pytest.raises(ItemsError, match="books 0"):  # a distractor would be the true one
        generate(make_texts(tmp_path, [], copies), 1)


def test_grams_are_those_of_words_in_a_row() -> None:
    draw = np.random.default_rng(1)
    words = draw.integers(0, 3, 400).astype(np.uint64)
    for n, hashes in grams(words, [3, 1, 5]):
        rows = [tuple(words[i : i + n].tolist()) for i in range(len(words) - n + 1)]
        assert len(hashes) == len(rows)
        assert len(set(zip(rows, hashes.tolist(), strict=True))) == len(set(rows))
        assert len(set(hashes.tolist())) == len(set(rows))
    assert list(grams(words[:2], [3])) == []
    wanted = draw.choice(hashes, 5)
    at, which = GramSet(wanted).find(hashes)
    assert at.tolist() == np.flatnonzero(np.isin(hashes, wanted)).tolist()
    assert GramSet(wanted).hashes[which].tolist() == hashes[at].tolist()


WORDS = [f"word{n}" for n in range(60)]


def planted() -> tuple[list[Text], list[Item], dict[int, tuple[int, int]]]:
    """Train texts, items, and of those that are in them, n-grams found and documents."""
    filler = [f"other{n}" for n in range(50)]
    train = [
        Text("web", " ".join([*filler, *WORDS[:20], *filler])),
        Text("web", " ".join(WORDS[30:42])),  # the end of one and the beginning of the next
        Text("web", " ".join([*WORDS[42:50], *filler])),
        Text("news", "say: " + ", ".join(w.upper() for w in WORDS[:15]) + "!"),
        Text("web", " ".join(WORDS[50:59])),
    ]
    items = [
        Item("all", "k", " ".join(WORDS[:10]), ("x", " ".join(WORDS[10:16])), 1),
        Item("across", "k", " ".join(WORDS[30:46]), ("x", "y"), 1),
        Item("twelve", "k", " ".join(WORDS[:12]), ("elsewhere", "y"), 0),
        Item("wrong", "k", "nothing of it", (" ".join(WORDS[:14]), "a b c d e f g"), 1),
        Item("short", "k", "word1 word2", ("word3", "y"), 0),
        Item("asked", "k", f"Question: {' '.join(WORDS[50:58])}\nAnswer:", ("x", "word58"), 1),
        Item("gap", "k", "", ("so it is",) * 2, 0, (" ".join(WORDS[2:14]), "no")),
    ]
    return train, items, {0: (5, 2), 2: (1, 2), 5: (2, 1), 6: (1, 2)}


def test_planted_items_are_found(tmp_path: Path) -> None:
    train, items, expected = planted()
    held_out = [Text("web", f"{items[1].query} y")]
    for together in (1, 10):
        run = make_texts(tmp_path / str(together), train, held_out, together=together)
        told: list[tuple[int, int]] = []
        found = check(items, run, lambda *n, told=told: told.append(n))
        assert {c.item: (c.found, c.documents) for c in found.contaminated} == expected
        assert found.contaminated[0].document == train[0].doc_id.hex()
        assert found.contaminated[0].source == "web"
        assert found.unchecked == (4,)
        assert found.documents == len(train)
        assert found.text_bytes == sum(len(t.text) for t in train)
        assert told[-1] == (len(told), len(told))


def test_the_command(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mixtures.items.command._open", lambda _: run)
    out = tmp_path / "made.jsonl"
    asked = ["items", "generate", "--corpus", "R", "--query-bytes", "120", "--out", str(out)]
    assert main([*asked, "--count", "40", "--sources", "code,notes", "--json"]) == 0
    answer = orjson.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["sources"] == {"code": 20, "notes": 20}
    assert len(read_items(out)) == 40
    assert main([*asked, "--count", "1000000"]) == 1
    assert "found held-out text for" in capsys.readouterr().err

    train, items, expected = planted()
    planted_run = make_texts(tmp_path / "run", train, [])
    monkeypatch.setattr("mixtures.items.command._open", lambda _: planted_run)
    file, clean = tmp_path / "items.jsonl", tmp_path / "clean.jsonl"
    write_items(file, items)
    assert main(["items", "check", str(file), "--corpus", "R", "--drop", str(clean)]) == 0
    told = capsys.readouterr().out
    assert "4 of 7 items are in train documents" in told
    assert "all: 5 of 5 n-grams" in told
    assert read_items(clean) == [one for n, one in enumerate(items) if n not in expected]
    write_items(file, items[:1])
    check_one = ["items", "check", str(file), "--corpus", "R", "--json"]
    assert main([*check_one, "--drop", str(clean)]) == 1
    assert "found all 1 items" in orjson.loads(capsys.readouterr().out)["error"]

    piqa = tmp_path / "piqa.jsonl"
    rows = [{"goal": str(n), "sol1": "a", "sol2": "b", "label": n % 2} for n in range(4)]
    piqa.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    reads = ["items", "read", str(piqa), "--format", "piqa", "--out", str(out)]
    assert main([*reads, "--limit", "3"]) == 0
    assert "3 items" in capsys.readouterr().out
    assert len(read_items(out)) == 3
