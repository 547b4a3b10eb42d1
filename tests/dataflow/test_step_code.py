"""A step's key knows all code that its output depends on, and no more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dataflow import code
from dataflow.tasks import STEP_MODULES, find_step


def _names(step: str) -> set[str]:
    return {str(f.relative_to(code.ROOT)) for f in code.reached(STEP_MODULES[step])}


def test_what_shapes_a_steps_output_is_in_its_code() -> None:
    assert {"kernels/text/segment.py", "kernels/text/unicode-18.0.0.txt"} <= _names("scan")
    assert {"dataflow/sources/formats/warc.py", "kernels/html/nesting.py"} <= _names("read")
    assert {"quality/rules.py"} <= _names("decide")
    assert {"dedup/survivors.py", "kernels/leaders.py", "kernels/hash_sets.py"} <= _names("near")


def test_what_does_not_is_not() -> None:
    assert not any(name.startswith("dataflow/report") for s in STEP_MODULES for name in _names(s))
    assert not any(name.startswith(("kernels", "dedup")) for name in _names("decide"))
    assert "dataflow/tasks.py" not in _names("read")
    assert "dataflow/sources/synthesised/forms.py" in _names("read")
    assert not any(name.startswith("vl_data/synthesis/") for name in _names("read"))


@pytest.mark.parametrize("step", sorted(STEP_MODULES))
def test_every_module_of_the_rooms_that_is_loaded_lazily_or_not_is_a_file(step: str) -> None:
    assert all(file.is_file() for file in code.reached(STEP_MODULES[step]))
    assert find_step(step).code_digest == code.code_digest(STEP_MODULES[step])


def test_a_changed_dependency_changes_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "quality"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "top.py").write_text("from quality import below\nimport numpy\n")
    (room / "below.py").write_text("X = 1\n")
    (room / "beside.py").write_text("Y = 1\n")

    def digest() -> str:
        for cached in (code._file, code._imports, code.reached, code.code_digest):
            cached.cache_clear()
        return code.code_digest("quality.top")

    monkeypatch.setattr(code, "ROOT", tmp_path)
    try:
        first = digest()
        (room / "beside.py").write_text("Y = 2\n")
        assert digest() == first
        (room / "below.py").write_text("X = 2\n")
        assert digest() != first
    finally:
        monkeypatch.undo()
        digest()
    assert "quality.top" not in sys.modules
