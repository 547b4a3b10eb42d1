"""How the runs went: losses while they trained, with what lies between seeds."""

from __future__ import annotations

import numpy as np

from dataflow.report.markup import Safe, tag
from dataflow.report.sections.parts import figure, section
from mixtures.studies.analysis.records import RunRecord, StudyData
from mixtures.studies.analysis.scores import tokenizers
from mixtures.studies.report.charts import Band, curves

_POINTS = 160


def training_section(data: StudyData) -> Safe:
    """Curves of training loss, an arm a line, from the least to the greatest of its seeds."""
    bands = [band for arm in data.arms if (band := _band(arm, data.of(arm))) is not None]
    note = (
        "Each arm's loss is over its own data and is no measure between arms: what the arms are "
        "judged by is measured on the same held-out text and items."
    )
    if len(tokenizers(data)) > 1:
        note += " These runs have several tokenizers, so that not even the unit is the same."
    if not bands:
        return section(
            "training", "Training", note, tag("p", "There are no curves.", class_="note")
        )
    return section(
        "training",
        "Training",
        note,
        figure(
            curves(bands, "nats a token", "tokens", "Training loss of each arm over tokens"),
            "Mean over seeds; bands from the least to the greatest seed. Dotted: runs that gave no "
            "result. The vertical axis shows what comes after the first fifth.",
        ),
    )


def _band(arm: str, runs: list[RunRecord]) -> Band | None:
    drawn = [run.curve for run in runs if run.finished and len(run.curve) > 1]
    lost = [run.curve for run in runs if not run.finished and len(run.curve) > 1]
    if not drawn:
        return Band(arm, [], lost) if lost else None
    first = max(curve[0][0] for curve in drawn)
    last = min(curve[-1][0] for curve in drawn)
    grid = np.linspace(first, last, _POINTS)
    values = np.array([np.interp(grid, *np.array(curve).T) for curve in drawn])
    rows = np.stack([grid, values.mean(axis=0), values.min(axis=0), values.max(axis=0)], axis=1)
    return Band(arm, [(a, b, c, d) for a, b, c, d in rows.tolist()], lost)
