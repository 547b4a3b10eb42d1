"""What tests of this room share."""

from __future__ import annotations

from functools import cache

import pytest

from mixtures.stage_frame import show_stage
from mixtures.studies import supply

_known = cache(show_stage)


@pytest.fixture
def trainer_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of a fake worker ask the real trainer what a stage draws: once for all tests, as
    each time is a process of seconds."""
    monkeypatch.setattr(supply, "show_stage", _known)
