"""Rounding a weight so that the errors cancel on the inputs that it will meet."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["inverse_factor", "round_weight"]

_DAMPING: Final = 0.01
_BLOCK: Final = 64


def inverse_factor(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """What `round_weight` needs of its inputs `tokens`, [tokens, inputs]: U with UᵀU = (XᵀX + λI)⁻¹, upper.

    λ is a hundredth of the mean squared input, as in GPTQ (Frantar et al. 2022, section 4, step 3). One Cholesky
    factorization of the matrix with its order reversed, and the inverse of that triangle: half the work of inverting
    the whole and factorizing the inverse.
    """
    moments = (tokens.T @ tokens).astype(np.float64)
    damping = _DAMPING * max(float(np.diagonal(moments).mean()), 1e-12)
    moments[np.diag_indices_from(moments)] += damping
    lower = torch.from_numpy(np.linalg.cholesky(moments[::-1, ::-1]))
    inverse: NDArray[np.float64] = torch.linalg.solve_triangular(
        lower, torch.eye(len(lower), dtype=torch.float64), upper=False
    ).numpy()
    return np.ascontiguousarray(inverse[::-1, ::-1].astype(np.float32))


def round_weight(
    weight: NDArray[np.float32], scales: NDArray[np.float32], factor: NDArray[np.float32], *, limit: int
) -> NDArray[np.int8]:
    """Integers from -limit to limit that stand for `weight` [inputs, outputs] in steps of `scales` [outputs].

    GPTQ (Frantar et al. 2022, algorithm 1): inputs are rounded one by one, and each rounding's error on the output
    is taken over by the inputs that are still to come. `factor` is their `inverse_factor`.
    """
    remaining = weight.copy()
    rounded = np.empty(weight.shape, dtype=np.int8)
    for start in range(0, len(weight), _BLOCK):
        stop = min(start + _BLOCK, len(weight))
        errors = np.empty((stop - start, weight.shape[1]), dtype=np.float32)
        for row in range(start, stop):
            rounded[row] = np.clip(np.rint(remaining[row] / scales), -limit, limit)
            error = (remaining[row] - rounded[row] * scales) / factor[row, row]
            remaining[row + 1 : stop] -= np.outer(factor[row, row + 1 : stop], error)
            errors[row - start] = error
        remaining[stop:] -= factor[start:stop, stop:].T @ errors
    return rounded
