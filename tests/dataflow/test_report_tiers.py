"""The report's section on what texts are worth."""

from __future__ import annotations

from collections import Counter

from dataflow.recipe.models import Guard
from dataflow.report.collect import Tally
from dataflow.report.rules import RuleBook
from dataflow.report.sections.tiers import tiers_section
from dataflow.report.worth import CategoryTotals, GroupCut, Worth
from quality.vanishing import Vanishing

HOSTILE = "<script>alert(1)</script>"


def _tally(worth: Worth) -> Tally:
    return Tally(RuleBook({}), worth=worth)


def _worth() -> Worth:
    return Worth(
        scorer=f"student {HOSTILE}",
        categories={
            "news": CategoryTotals(90, 9000, 1000, 2000, Counter(low=300, high=900)),
            "law": CategoryTotals(10, 1000, 0, 950, Counter(unscored=5)),
        },
        lost=[Vanishing("law", 0.1, 0.01, 0.95)],
        guard=Guard(),
        tiers=("low", "high", "unscored"),
        by_tier={"low": (20, 300), "high": (30, 900), "unscored": (1, 5)},
        groups=[
            GroupCut(
                "reward.depth",
                HOSTILE,
                "en",
                "source and language",
                50,
                {"low": 300, "high": 900},
                {"low": None, "high": 2.5},
            ),
            GroupCut("reward.depth", "b", "de", "corpus", 1, {"low": 1}, {"low": None}),
        ],
    )


def test_a_recipe_without_either_has_no_section() -> None:
    assert tiers_section(_tally(Worth())) is None


def test_shares_before_and_after_are_shown_by_category() -> None:
    html = str(tiers_section(_tally(_worth())))
    for share in (
        ">90.0 %<",  # of what was read
        ">11.1 %<",  # of the news that other rules drop
        ">25.0 %<",  # of the rest, that rules on reward drop
        ">95.0 %<",  # of law
        ">99.2 %<",  # 6,000 of 6,050 bytes that rules leave
        ">99.6 %<",  # 1,200 of 1,205 tokens
        ">75.0 %<",  # of the news that is high
    ):
        assert share in html, share
    assert "Rules on reward.* take more than 90 % of: " in html
    assert "law: 10.00 % of all before, 1.00 % after (95.0 % of it gone)" in html


def test_cuts_say_by_which_documents_they_were_made() -> None:
    html = str(tiers_section(_tally(_worth())))
    assert "(1 by source and language, 1 by corpus)" in html
    assert ">2.5<" in html
    assert "high from" in html


def test_names_of_documents_are_text() -> None:
    html = str(tiers_section(_tally(_worth())))
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html


def test_unscored_is_shown_only_where_there_is_any() -> None:
    worth = _worth()
    assert "unscored" in str(tiers_section(_tally(worth)))
    del worth.by_tier["unscored"]
    worth.categories["law"].tokens.clear()
    html = str(tiers_section(_tally(worth)))
    assert "<th" in html
    assert ">unscored</th>" not in html
    assert "unscored: " not in html.replace("unscored: 0 tokens", "")


def test_scores_without_tiers_say_so() -> None:
    worth = _worth()
    worth.tiers, worth.groups, worth.by_tier = (), [], {}
    html = str(tiers_section(_tally(worth)))
    assert "The recipe has no tiers" in html
    assert "Where tiers are cut" not in html
    assert "Of the corpus" not in html
