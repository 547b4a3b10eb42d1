"""Labels to a student's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from blake3 import blake3

from kernels.text import buffers_of, scan
from quality.reward.judged import Judged
from quality.reward.student.fitting import Fit, fit_student
from quality.reward.student.model import LARGEST_BYTES, StudentError, write_model


def distill(
    judged: Judged, labels: Path, out: Path, watch: Callable[[str], None] = lambda _: None
) -> tuple[Fit, int]:
    """Fit a student to labels and write its file; returns the fit and the file's bytes.

    Raises
    ------
    StudentError
        If the file would be larger than 5 MB.
    ValueError
        For too few labels, or labels of several rubrics.
    """
    fit = fit_to(judged, labels, watch)
    made = write_model(fit.model)
    if len(made) > LARGEST_BYTES:
        raise StudentError(f"{out}: found {len(made):,} bytes, expected {LARGEST_BYTES:,} at most")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(made)
    return fit, len(made)


def fit_to(judged: Judged, labels: Path, watch: Callable[[str], None]) -> Fit:
    """Fit a student to labels of one rubric; ``labels``: their file, which the student names."""
    rubrics = sorted({label.rubric for label in judged.labels})
    if len(rubrics) != 1:
        raise ValueError(f"{labels}: found rubrics {rubrics}, expected labels by one of them")
    watch("measuring signals")
    data, offsets = buffers_of(pa.array(judged.texts, pa.large_string()))
    signals: dict[str, Any] = scan(data, offsets, None).signals
    about = {
        "rubric": rubrics[0],
        "labels": blake3(labels.read_bytes()).hexdigest(),
        "labels_without_text": judged.missing,
    }
    return fit_student(judged.labels, judged.texts, signals, about, watch)
