"""The store writes what it hashes and stays inside; the journal believes whole records only."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import blake3
import pytest

from dataflow.journal import Journal, Output, Record
from dataflow.store import Store, StoreError


def _record(key: str = "ab" * 16, path: str = "documents/x.parquet", size: int = 3) -> Record:
    return Record(key, "read", "x", {"documents": Output(path, "documents", size, "00")}, {"n": 1})


def test_create_hashes_and_counts_what_it_writes(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with store.create("a/b.bin") as sink:
        sink.write(b"one")
        sink.write(bytearray(b"two"))
    assert store.read("a/b.bin") == b"onetwo"
    assert sink.bytes == 6
    assert sink.digest == blake3.blake3(b"onetwo").hexdigest()
    assert store.size("a/b.bin") == 6
    store.delete("a/b.bin")
    assert store.size("a/b.bin") is None
    with pytest.raises(FileNotFoundError):
        store.read("a/b.bin")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "a\0b"])
def test_no_path_leaves_the_run_folder(tmp_path: Path, path: str) -> None:
    store = Store(str(tmp_path / "run"))
    with pytest.raises(StoreError):
        store.write(path, b"")
    with pytest.raises(StoreError):
        store.read(path)


def test_replacing_write_leaves_nothing_else(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("x.json", b"1")
    store.write("x.json", b"22")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert store.read("x.json") == b"22"


def test_exclusive_creation_has_one_winner(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert store.create_exclusive("k", b"first")
    assert not store.create_exclusive("k", b"second")
    assert store.read("k") == b"first"


def test_a_record_survives_the_journal(tmp_path: Path) -> None:
    journal = Journal(Store(str(tmp_path)))
    assert journal.get("ab" * 16) is None
    assert journal.commit(_record()) == _record()
    assert journal.get("ab" * 16) == _record()


@pytest.mark.parametrize("keep", [0, 1, 40, -2, -40])
def test_a_torn_record_does_not_exist_and_is_replaced(tmp_path: Path, keep: int) -> None:
    store = Store(str(tmp_path))
    journal = Journal(store)
    data = _record().to_json()
    store.write(Journal.path("ab" * 16), data[:keep])
    assert journal.get("ab" * 16) is None
    journal.commit(_record())
    assert journal.get("ab" * 16) == _record()


def test_first_commit_wins_while_its_outputs_are_there(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    journal = Journal(store)
    store.write("documents/x.parquet", b"abc")
    journal.commit(_record())
    other = Record("ab" * 16, "read", "x", {"documents": Output("else", "documents", 9, "11")})
    assert journal.commit(other) == _record()
    store.delete("documents/x.parquet")
    assert journal.commit(other) == other


def test_presence_counts_temporary_outputs_only_when_asked(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    journal = Journal(store)
    record = Record("cd" * 16, "s", "n", {"t": Output("work/t", "work", 1, "0", temporary=True)})
    assert journal.present(record)
    assert not journal.present(record, temporary=True)
    store.write("work/t", b"1")
    assert journal.present(record, temporary=True)


def _commit_in_process(folder: str, number: int) -> None:
    record = Record("ef" * 16, "read", str(number))
    Journal(Store(folder)).commit(record)


def test_processes_that_commit_one_key_leave_one_whole_record(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_commit_in_process, args=(str(tmp_path), i)) for i in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    record = Journal(Store(str(tmp_path))).get("ef" * 16)
    assert record is not None
    assert record.name in {"0", "1", "2"}
