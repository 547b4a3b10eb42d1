"""What a study says in one sentence, and what warns of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mixtures.studies.analysis.outcome import Comparison, MetricAnalysis, Repetition
from mixtures.studies.analysis.records import StudyData
from mixtures.studies.analysis.scores import BITS_PER_BYTE, tokenizers
from mixtures.studies.wording import counted, interval, listed, number, percent, probability


def decide(data: StudyData, metrics: Sequence[MetricAnalysis]) -> str:
    """The sentence of a study that compares arms, by its primary metric."""
    primary = next((metric for metric in metrics if metric.primary), None)
    if primary is None:
        return f"Nothing can be said: no finished run has {data.primary}."
    tested = [c for c in primary.comparisons if c.effect is not None]
    if primary.nulls and not primary.comparisons:
        nulls = "; ".join(f"the null arm {null.arm}: {null.text}" for null in primary.nulls)
        return f"By {primary.name}, {nulls}."
    if not tested:
        return f"Nothing can be said by {primary.name}: {_untested(primary)}."
    failed = [null.arm for null in primary.nulls if null.passed is False]
    if failed:
        return (
            f"This study decides nothing: by {primary.name} the null arm {listed(failed)} differs "
            f"from {data.baseline}, of which it is a copy over other documents, so that its other "
            "differences cannot be believed either."
        )
    d = primary.discrimination
    blind = d is not None and not (d.tells or d.by_pairs)
    if blind and not any(c.verdict in ("better", "worse") for c in tested):
        return f"This study decides nothing: {primary.name} {_blind(primary)}."
    return _sentence(data, primary, tested)


def warnings(
    data: StudyData, metrics: Sequence[MetricAnalysis], turned: Repetition | None
) -> list[str]:
    """What a reader must know first: lost runs, tests not made, blind metrics, tokenizers."""
    found = [*_lost(data), *_contaminated(data)]
    if data.few_seeds:
        found.append(
            "The study allows fewer than 4 seeds an arm: its tests are labelled so, and their "
            "variances are hardly known."
        )
    found += [
        f"{arm.name} asks for the runs of {arm.same_as}: they are one arm, computed once."
        for arm in data.arms.values()
        if arm.same_as is not None
    ]
    for metric in metrics:
        if metric.primary:
            found += [
                f"{c.arm} is not tested by {metric.name}: {c.note}."
                for c in metric.comparisons
                if c.effect is None
            ]
            found += [f"{c.arm}: {c.note}." for c in metric.comparisons if c.effect and c.note]
            found += [
                f"The null arm {null.arm} does not pass by {metric.name}: {null.text}."
                for null in metric.nulls
                if null.passed is False
            ]
    told = [(m, m.discrimination) for m in metrics if m.discrimination is not None]
    blind = [m for m, d in told if not (d.tells or d.by_pairs or d.reversed)]
    paired = [f"{m.name} ({_ratio(m)})" for m, d in told if d.by_pairs]
    wrong = [f"{m.name} {d.text} ({_ratio(m)})" for m, d in told if d.reversed]
    if wrong:
        found.append(f"Against what is known: {listed(wrong)}.")
    if paired:
        found.append(
            f"Pairs of seeds tell good from bad here, single runs do not: {listed(paired)}."
        )
    if blind:
        found.append(
            f"Cannot tell good from bad here: {listed([f'{m.name} ({_ratio(m)})' for m in blind])}."
        )
    if turned is not None:
        found += [
            f"Where {tier.tier} turns is not identified: {tier.notes.get('least', 'no fit')}."
            for tier in turned.tiers
            if tier.least is None and tier.half_worth is None
        ]
    several = tokenizers(data)
    if len(several) > 1:
        decides = [metric.name for metric in metrics if metric.primary]
        instead = "" if data.primary in decides else f", and decides in the place of {data.primary}"
        found.append(
            f"The runs have {len(several)} tokenizers: nothing that is measured per token is "
            f"compared; {BITS_PER_BYTE} is{instead}."
        )
    return found


def turns(data: StudyData, turned: Repetition | None) -> str:
    """The sentence of a study of repetition."""
    if turned is None:
        return f"Nothing can be said: no arm has enough finished runs with {data.primary}."
    return turned.text


def _contaminated(data: StudyData) -> Iterable[str]:
    items = (data.study.get("metrics") or {}).get("items") or {}
    for name, left_out in (items.get("left_out") or {}).items():
        if left_out:
            total = left_out + items["counts"][name]
            yield (
                f"{left_out:,} of {total:,} items of {name} stand in documents that an arm may "
                "train on, and are left out."
            )


def _lost(data: StudyData) -> Iterable[str]:
    for state in dict.fromkeys(run.state for run in data.lost):
        runs = [run for run in data.lost if run.state == state]
        named = [f"{run.arm} seed {run.seed}{f' ({run.why})' if run.why else ''}" for run in runs]
        shown = "; ".join(named[:6]) + (f"; and {len(named) - 6} more" if len(named) > 6 else "")
        verb = "is" if len(runs) == 1 else "are"
        yield f"{counted(len(runs), 'run')} of {len(data.runs)} {verb} {state}: {shown}."


def _sentence(data: StudyData, primary: MetricAnalysis, tested: Sequence[Comparison]) -> str:
    seen = [c for c in tested if c.verdict == "better"]
    worse = [c for c in tested if c.verdict == "worse"]
    unseen = [c for c in tested if c.verdict == "not shown"]
    clauses = []
    if seen:
        best = max(seen, key=lambda c: abs(c.effect or 0))
        rest = [c.arm for c in seen if c is not best]
        clauses.append(f"{best.arm} is better than {data.baseline} {_numbers(data, primary, best)}")
        if rest:
            clauses.append(f"so {'is' if len(rest) == 1 else 'are'} {listed(rest)}, by less")
    for i, c in enumerate(sorted(worse, key=lambda c: -abs(c.effect or 0))):
        words = _short(c) if seen or i else _numbers(data, primary, c)
        clauses.append(f"{c.arm} is worse than {data.baseline} {words}")
    if unseen:
        smallest = max((c.mde for c in unseen if c.mde is not None), default=None)
        could = (
            f", where the study would have found {number(smallest)} {primary.unit} "
            f"{percent(data.power)} of the time"
            if smallest is not None
            else ""
        )
        hoped = {c.alternative for c in unseen}
        word = "a difference" if len(hoped) > 1 else "it"
        names = listed([c.arm for c in unseen])
        if word == "it" and not clauses:
            side = "better" if _hopes_better(primary, unseen[0]) else "worse"
            what = f"be {side} than"
        else:
            what = "differ from"
        clauses.append(f"{names} {_be(unseen)} not shown to {what} {data.baseline}{could}")
    if primary.ordering is not None:
        clauses.append(primary.ordering.text)
    passed = [null.arm for null in primary.nulls if null.passed]
    if passed:
        clauses.append(f"the null arm {listed(passed)} shows no difference, as it must")
    return f"By {primary.name}, {'; '.join(clauses)}."


def _numbers(data: StudyData, primary: MetricAnalysis, c: Comparison) -> str:
    assert c.effect is not None
    words = f"by {number(abs(c.effect))} {primary.unit}"
    if c.low is not None and c.high is not None:
        words += f" ({percent(1 - data.alpha)} interval of the effect {interval(c.low, c.high)}"
        p = c.p_adjusted if c.p_adjusted is not None else c.p
        if p is not None:
            words += f"; one-sided {probability(p)} after Holm over {counted(c.family, 'test')}"
        words += f"; {c.runs[0]} runs against {c.runs[1]})"
    return words


def _short(c: Comparison) -> str:
    p = c.p_adjusted if c.p_adjusted is not None else c.p
    tail = "" if p is None else f" ({probability(p)})"
    return f"by {number(abs(c.effect or 0))}{tail}"


def _hopes_better(primary: MetricAnalysis, c: Comparison) -> bool:
    return (c.alternative == "greater") == (primary.better == "higher")


def _be(comparisons: Sequence[Comparison]) -> str:
    return "is" if len(comparisons) == 1 else "are"


def _untested(primary: MetricAnalysis) -> str:
    notes = list(dict.fromkeys(f"{c.arm}: {c.note}" for c in primary.comparisons))
    return "; ".join(notes) or "no arm is there to compare with the baseline"


def _blind(metric: MetricAnalysis) -> str:
    assert metric.discrimination is not None
    return f"{metric.discrimination.text} here ({_ratio(metric)})"


def _ratio(metric: MetricAnalysis) -> str:
    d = metric.discrimination
    assert d is not None
    return f"Δ/σ = {number(d.ratio, 2)}, {number(d.low, 2)} to {number(d.high, 2)}"
