"""Do the ranges that calibration found hold on other texts?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxpress.artifacts.manifest import Drift
from onnxpress.hardware.cpu import available_cpus
from onnxpress.inputs.encoder import TokenRows
from onnxpress_export.precision.activations import watch_values
from onnxpress_export.precision.recipe import Recipe, outside

__all__ = ["measure_drift"]

_MAX_TOKENS: Final = 512


def measure_drift(model: ir.Model, folder: Path, rows: TokenRows, recipes: Mapping[str, Recipe]) -> Drift:
    """How far the values of the fp32 graph `model` on `rows` leave the ranges of their `recipes`, by value.

    Weights of `model` lie in `folder`.
    """
    farthest, numbers, clipped = dict.fromkeys(recipes, 0.0), 0, 0
    watched = watch_values(model, folder, rows, list(recipes), threads=available_cpus(), max_tokens=_MAX_TOKENS)
    for _, found in watched:
        for name, content in found.items():
            beyond: NDArray[np.float32] = outside(content, recipes[name])
            farthest[name] = max(farthest[name], float(beyond.max()))
            clipped += int(np.count_nonzero(beyond))
            numbers += beyond.size
    worst = max(farthest, key=farthest.__getitem__)
    return Drift(
        values=len(recipes),
        drifted=sum(share > 0 for share in farthest.values()),
        clipped=clipped / numbers,
        overshoot=farthest[worst],
        worst=worst if farthest[worst] > 0 else "",
    )
