"""The dialects: real signals, reachable thresholds, and the numbers of the papers."""

from __future__ import annotations

import pytest

from quality.dialects import DIALECTS, PRESETS
from quality.rules import Rule
from quality.signals import SIGNALS


@pytest.mark.parametrize(
    "rule", [r for rules in PRESETS.values() for r in rules], ids=lambda r: r.name
)
def test_rules_test_real_signals_within_their_range(rule: Rule) -> None:
    signal = SIGNALS[rule.signal]
    for bound in (rule.min, rule.max):
        if bound is not None:
            assert signal.minimum is None or bound >= signal.minimum
            assert signal.maximum is None or bound <= signal.maximum


def test_names_are_unique_within_a_dialect() -> None:
    for name, rules in PRESETS.items():
        assert len({rule.name for rule in rules}) == len(rules) > 0, name
        assert DIALECTS[name].source
        assert DIALECTS[name].doc


def bounds(preset: str) -> dict[str, tuple[float | None, float | None]]:
    return {rule.signal: (rule.min, rule.max) for rule in PRESETS[preset]}


def test_gopher_thresholds() -> None:
    quality = bounds("gopher.quality")
    assert quality["gopher.words"] == (50, 100_000)
    assert quality["gopher.mean_word_chars"] == (3, 10)
    assert quality["gopher.stop_words"] == (2, None)
    repetition = bounds("gopher.repetition")
    assert [repetition[f"gopher.top_{n}_gram_char_frac"][1] for n in (2, 3, 4)] == [0.2, 0.18, 0.16]
    assert [repetition[f"gopher.dup_{n}_gram_char_frac"][1] for n in range(5, 11)] == [
        0.15,
        0.14,
        0.13,
        0.12,
        0.11,
        0.10,
    ]


def test_fineweb_thresholds() -> None:
    assert bounds("fineweb.quality") == {
        "fineweb.line_punct_ratio": (0.12, None),
        "fineweb.short_line_ratio": (None, 0.67),
        "fineweb.char_dup_ratio": (None, 0.01),
        "fineweb.new_line_ratio": (None, 0.3),
    }
