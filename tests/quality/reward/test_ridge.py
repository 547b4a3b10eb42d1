"""Ridge regression against the closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from quality.reward.student import ridge


@pytest.mark.parametrize("dense_rows", [0, 8192])
@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
def test_the_solution_is_the_closed_form(
    monkeypatch: pytest.MonkeyPatch, dense_rows: int, penalty: float
) -> None:
    monkeypatch.setattr(ridge, "_DENSE_ROWS", dense_rows)
    random = np.random.default_rng(5)
    rows = sparse.random(40, 90, 0.2, "csr", random_state=random)
    targets = random.normal(size=(40, 3))
    targets[:, 2] = 0
    weights = rows.T @ ridge.solve(rows, targets, penalty)
    dense = rows.toarray()
    closed = np.linalg.solve(dense.T @ dense + penalty * np.eye(90), dense.T @ targets)
    assert np.abs(weights - closed).max() < 1e-6
    assert (weights[:, 2] == 0).all()


def test_a_fit_that_does_not_settle_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "_MOST_STEPS", 1)
    random = np.random.default_rng(5)
    rows = sparse.random(40, 90, 0.2, "csr", random_state=random)
    with pytest.raises(ArithmeticError, match="after 1 steps, expected 1e-08"):
        ridge.solve(rows, random.normal(size=(40, 2)), 1e-6)
