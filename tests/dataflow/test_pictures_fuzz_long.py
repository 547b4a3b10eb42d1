"""Containers of images with bytes changed, cut out and put in: what is read, and never a crash."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow.pictures import marks_differ
from dataflow.recipe.source_models import Source
from dataflow.sources import Record, SourceSpec, Unreadable, plan, read
from dataflow.sources.refusal import REASONS
from tests.dataflow.hostile_pictures import CONTAINERS, GOOD, WRITERS
from tests.dataflow.sources.made_pairs import image, tar
from tests.vl_data.made_images import ENCODERS
from vl_data.images import MARK
from vl_data.limits import ANY_SIZE

pytestmark = pytest.mark.long

Edit = tuple[float, int, bytes]
"""Where, as a share of the file; how many bytes go there; which come in their place."""

EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from((0, 1, 1, 1, 4, 700)), st.binary(max_size=5)),
    min_size=1,
    max_size=6,
)
SETTINGS = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def edited(data: bytes, edits: list[Edit]) -> bytes:
    """``data`` after the edits, one after the other."""
    changed = bytearray(data)
    for place, gone, come in edits:
        at = int(place * len(changed))
        changed[at : at + gone] = come
    return bytes(changed)


def check(spec: SourceSpec) -> None:
    """Read all of a source twice, in one piece and in many: every outcome has its own place."""
    told = []
    for size in (1 << 30, 1000):
        found = [marks_differ(o) for part in plan(spec, size) for o in read(spec, part)]
        places = [(o.uri, o.offset) for o in found]
        assert len(set(places)) == len(places)
        for outcome in found:
            if isinstance(outcome, Unreadable):
                assert outcome.reason in REASONS
                outcome.detail.encode()
                continue
            assert isinstance(outcome, Record)
            outcome.text.encode()
            assert not outcome.images or outcome.text.count(MARK) == len(outcome.images)
            assert {refused.reason for refused in outcome.refused} <= REASONS.keys()
        told.append({(o.uri, o.offset) for o in found if isinstance(o, Record)})
    assert told[0] == told[1]


@pytest.mark.parametrize("name", WRITERS)
@given(edits=EDITS)
@SETTINGS
def test_every_reader_takes_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[Edit]
) -> None:
    if name == "pdfs":
        pytest.importorskip("pypdfium2", reason="of the pdf extra")
    folder = tmp_path_factory.mktemp("fuzz")
    recipe = {k: v for k, v in WRITERS[name](folder).recipe.items() if k != "fit"}
    for path in sorted(folder.iterdir()):
        if path.suffix in CONTAINERS:
            path.write_bytes(edited(path.read_bytes(), edits))
    source = Source.model_validate({"name": "fuzz", "paths": [str(folder)], **recipe})
    check(source.spec(folder))
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", list(ENCODERS))
@given(edits=EDITS)
@SETTINGS
def test_a_broken_image_costs_its_own_pair(tmp_path: Path, kind: str, edits: list[Edit]) -> None:
    data = edited(image(7, (40, 30), ENCODERS[kind]), edits)
    names = {"a.png": GOOD, "a.txt": b"One", "b.img.png": data, "b.txt": b"Two"}
    (tmp_path / "a.tar").write_bytes(tar({**names, "c.png": GOOD, "c.txt": b"Three"}))
    spec = SourceSpec("s", paths=(str(tmp_path),), format="image-text", images=ANY_SIZE)
    check(spec)
    found = [o for part in plan(spec, 1 << 30) for o in read(spec, part)]
    assert len(found) == 3
    assert [o.text[2:] for o in (found[0], found[2]) if isinstance(o, Record)] == ["One", "Three"]
