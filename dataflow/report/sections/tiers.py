"""What texts are worth: categories before and after, tiers, and where they are cut."""

from __future__ import annotations

from collections import Counter

from dataflow.report.charts import bar, stacked_bar
from dataflow.report.collect import Tally
from dataflow.report.markup import Child, Safe, tag
from dataflow.report.numbers import bytes_, compact, count, exact, percent, plain
from dataflow.report.samples import clip
from dataflow.report.sections.parts import Cell, Column, Row, section, table
from dataflow.report.worth import GroupCut, Worth
from quality.tiers import LEVELS

MAX_GROUPS = 60


def tiers_section(tally: Tally) -> Safe | None:
    """The section; None for a recipe with neither scores of texts nor tiers."""
    worth = tally.worth
    if not worth.categories and not worth.tiers:
        return None
    return section(
        "tiers",
        "What texts are worth",
        _lead(worth),
        _alarm(worth),
        *_categories(worth),
        *_tiers(worth),
        *_groups(worth),
    )


def _lead(worth: Worth) -> Child:
    parts: list[Child] = []
    if worth.scorer is not None:
        parts.append(f"Texts are scored by {clip(worth.scorer, 80)}. ")
    if not worth.tiers:
        parts.append("The recipe has no tiers: all documents are unscored in the index.")
        return parts
    by = dict.fromkeys(group.by for group in worth.groups)
    if by:
        parts.append(f"Tiers are cut by {', or by '.join(by)}; ")
    whole = sum(tokens for _, tokens in worth.by_tier.values())
    without = worth.by_tier.get(worth.tiers[-1], (0, 0))[1]
    parts.append(f"{percent(without, whole)} of tokens have no score. A tier drops nothing: it is ")
    parts.append("for mixtures to choose by.")
    return parts


def _alarm(worth: Worth) -> Safe | None:
    if not worth.lost or worth.guard is None:
        return None
    return tag(
        "div",
        tag("p", tag("b", f"Rules on reward.* take more than {100 * worth.guard.loss:g} % of: "),
            "; ".join(one.describe() for one in worth.lost), ". Is it meant?"),
        class_="alarm",
        role="note",
    )  # fmt: skip


def _categories(worth: Worth) -> list[Safe]:
    if not worth.categories:
        return []
    read = sum(c.read for c in worth.categories.values())
    left = sum(c.read - c.other - c.reward for c in worth.categories.values())
    tokens = sum(c.tokens.total() for c in worth.categories.values())
    heads = [
        Column("Category", False),
        Column("Documents"),
        Column("Read", hint="bytes of text of all documents read"),
        Column("Of all"),
        Column("Other rules", hint="share of what was read that rules on other signals drop"),
        Column("Rules on reward", hint="share of what other rules leave"),
        Column("Of what rules leave"),
    ]
    if worth.tiers:
        heads += [Column("Of the corpus", hint="of tokens of the index"), Column("Tiers", False)]
        heads += [Column([_mark(i), clip(name, 30)]) for i, name in _used(worth)]
    rows = []
    for name, of in sorted(worth.categories.items(), key=lambda i: (-i[1].read, i[0])):
        kept, mine = of.read - of.other - of.reward, of.tokens.total()
        cells: list[Cell | Child] = [
            Cell(clip(name, 60), name),
            Cell(count(of.documents), of.documents),
            Cell(bytes_(of.read), of.read),
            Cell(percent(of.read, read), of.read),
            Cell(percent(of.other, of.read), of.other / max(of.read, 1)),
            Cell(percent(of.reward, of.read - of.other), of.reward / max(of.read - of.other, 1)),
            Cell(percent(kept, left), kept),
        ]
        if worth.tiers:
            cells += [Cell(percent(mine, tokens), mine), Cell(_stack(worth, of.tokens), mine)]
            cells += [Cell(percent(of.tokens[t], mine), of.tokens[t]) for _, t in _used(worth)]
        rows.append(Row(cells))
    after = ", and of the corpus in tokens, with the tiers that they are in" * bool(worth.tiers)
    caption = f"Categories before and after: of text read, of what rules leave{after}."
    return [tag("h3", "Categories"), table(heads, rows, caption)]


def _used(worth: Worth) -> list[tuple[int, str]]:
    """The tiers with their numbers; that of documents without a score only where there are any."""
    found = list(enumerate(worth.tiers))
    return found if worth.tiers[-1] in worth.by_tier else found[:-1]


def _mark(tier: int) -> Safe:
    """The colour of a tier in stacked bars."""
    square = tag("rect", class_=f"t{tier % 8}", width=8, height=8)
    return tag(
        "svg", square, class_="tier", viewBox="0 0 8 8", width=8, height=8, aria_hidden="true"
    )


def _stack(worth: Worth, tokens: Counter[str] | dict[str, int]) -> Safe:
    return stacked_bar(
        [
            (tokens.get(tier, 0), f"t{i % 8}", f"{tier}: {exact(tokens.get(tier, 0))} tokens")
            for i, tier in enumerate(worth.tiers)
        ]
    )


def _tiers(worth: Worth) -> list[Safe]:
    if not worth.tiers:
        return []
    whole = sum(tokens for _, tokens in worth.by_tier.values())
    rows = []
    for i, name in _used(worth):
        documents, tokens = worth.by_tier.get(name, (0, 0))
        rows.append(
            Row(
                [
                    Cell([_mark(i), clip(name, 60)], name),
                    Cell(count(documents), documents),
                    Cell(count(tokens), tokens),
                    Cell([bar(tokens, whole), " ", percent(tokens, whole)], tokens, "with-bar"),
                ]
            )
        )
    heads = [Column("Tier", False), Column("Documents"), Column("Tokens"), Column("Of all", False)]
    caption = "Documents of the index by tier, from the lowest; held-out ones too."
    return [tag("h3", "Tiers"), table(heads, rows, caption, sortable=False)]


def _groups(worth: Worth) -> list[Safe]:
    if not worth.groups:
        return []
    names = worth.tiers[:-1]
    ordered = sorted(worth.groups, key=lambda g: (-g.tokens, g.source, g.language, g.by))
    several = len({group.by for group in ordered}) > 1
    heads = [
        Column("Source", False),
        Column("Language", False),
        *([Column("Score", False)] if several else []),
        Column("Cut by", False, "whose documents say where; its own where there are enough"),
        Column("Documents"),
        Column("Tokens"),
        Column("Tiers", False),
        *(Column(f"{clip(name, 30)} from") for name in names[1:]),
    ]
    rows = [Row(_group_cells(worth, group, several)) for group in ordered[:MAX_GROUPS]]
    levels = Counter(group.cut_by for group in ordered)
    told = ", ".join(f"{levels[level]} by {level}" for level in LEVELS if levels[level])
    more = len(ordered) - MAX_GROUPS
    tail = f" {compact(more)} smaller ones are left out." if more > 0 else ""
    caption = f"Where train documents of each source and language are cut ({told}).{tail}"
    return [tag("h3", "Where tiers are cut"), table(heads, rows, caption)]


def _group_cells(worth: Worth, group: GroupCut, several: bool) -> list[Cell | Child]:
    names = worth.tiers[:-1]
    firsts = [group.firsts.get(name) for name in names[1:]]
    return [
        Cell(clip(group.source, 60), group.source),
        Cell(clip(group.language, 20), group.language),
        *([Cell(clip(group.by, 80), group.by)] if several else []),
        Cell(group.cut_by, group.cut_by),
        Cell(count(group.documents), group.documents),
        Cell(count(group.tokens), group.tokens),
        Cell(_stack(worth, group.tiers), group.tokens),
        *(Cell("–" if first is None else plain(first), first) for first in firsts),
    ]
