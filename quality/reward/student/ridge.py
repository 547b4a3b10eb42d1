"""Ridge regression of many outputs on a sparse matrix, by conjugate gradients in the dual."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

F64 = NDArray[np.float64]

_DENSE_ROWS = 8192
"""Up to so many documents the matrix of their products is held: 512 MiB."""
_TOLERANCE = 1e-8
_MOST_STEPS = 2000


def solve(rows: sparse.csr_matrix, targets: F64, penalty: float) -> F64:
    """The α of min ‖XXᵀα + penalty α − y‖: weights are Xᵀα.

    Parameters
    ----------
    rows : X float64[n, p]
    targets : y float64[n, outputs]
    penalty : above 0

    Returns
    -------
    float64[n, outputs].

    Raises
    ------
    ArithmeticError
        If the residual does not fall to 1e-8 of the targets.
    """
    n = rows.shape[0]
    products = (rows @ rows.T).toarray() if n <= _DENSE_ROWS else None
    turned = rows.T.tocsr()

    def apply(v: F64) -> F64:
        found = products @ v if products is not None else rows @ (turned @ v)
        return np.asarray(found + penalty * v)

    alpha = np.zeros_like(targets, np.float64)
    residual = targets - apply(alpha)
    direction = residual.copy()
    size = (residual**2).sum(axis=0)
    goal = _TOLERANCE**2 * np.maximum((targets**2).sum(axis=0), np.finfo(float).tiny)
    for _ in range(_MOST_STEPS):
        if (size <= goal).all():
            return alpha
        moved = apply(direction)
        curve = (direction * moved).sum(axis=0)
        step = np.divide(size, curve, out=np.zeros_like(size), where=curve > 0)
        alpha += step * direction
        residual -= step * moved
        before, size = size, (residual**2).sum(axis=0)
        turn = np.divide(size, before, out=np.zeros_like(size), where=before > 0)
        direction = residual + turn * direction
    raise ArithmeticError(
        f"ridge: found a residual of {np.sqrt((size / goal).max()) * _TOLERANCE:.1e} after "
        f"{_MOST_STEPS} steps, expected {_TOLERANCE:.0e}; a larger penalty is easier to solve"
    )
