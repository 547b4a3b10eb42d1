"""Why a conversation or a pair is no sample: the reasons, and the exception that carries one."""

from __future__ import annotations

from types import MappingProxyType

REASONS = MappingProxyType(
    {
        "marks-differ": "the text has places for more or fewer images than there are",
        "empty-answer": "an answer, or the only caption, says nothing",
        "equal-answers": "a pair whose chosen and rejected answers do not differ",
        "missing-field": "no turns, or a turn without a known role or without text",
    }
)
"""What `SampleRefused.reason` may be, and what each means."""


class SampleRefused(ValueError):
    """A sample that is not used: ``reason`` is a key of `REASONS`, ``detail`` what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[SampleRefused], tuple[str, str]]:
        return type(self), (self.reason, self.detail)
