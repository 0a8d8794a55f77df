"""Do the graphs of one variant answer alike? The CPU's was measured; the others take padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import CheckFailedError
from onnxpress.hardware.cpu import available_cpus
from onnxpress.inputs.encoder import TokenRows
from onnxpress.sessions.session import DISABLED_OPTIMIZERS, PROVIDERS, import_onnxruntime, session_options
from onnxpress_export.tasks import ExportTask

__all__ = ["TEXTS_COMPARED", "GraphsDifferError", "padded_logits", "require_alike"]

_ROWS: Final = 8
TEXTS_COMPARED: Final = 128
_FLAT: Final = 2
_ROUNDING: Final = 1e-4
"""Of the largest logit: fp32 sums in another order, see LOGIT_TOLERANCE."""


class GraphsDifferError(CheckFailedError):
    """A graph of a variant does not give the logits of the CPU's."""

    def __init__(self, graph: str, difference: float, allowed: float) -> None:
        super().__init__(graph, difference, allowed)
        self.graph, self.difference, self.allowed = graph, difference, allowed

    def __str__(self) -> str:
        return (
            f"{self.graph} differs by {self.difference:.3g} from the CPU's graph of the same precision, which itself "
            f"lies within {self.allowed:.3g} of fp32. It was left out. Please report it, with the checkpoint."
        )


def require_alike(
    graphs: Sequence[tuple[Path, bool]],
    rows: TokenRows,
    found: NDArray[np.float32],
    reference: NDArray[np.float32],
    *,
    task: ExportTask,
    padding: int,
    left: bool,
    saturates: bool,
) -> None:
    """Raise GraphsDifferError unless each of `graphs` gives the logits `found` in padded batches of mixed lengths.

    A sum in another order can move a value by an integer's step, so that they may differ, but by no more than `found`
    itself differs from fp32 on these texts, its own steps' doing.

    Args:
        graphs: Each with whether it runs in the engine's session; else in one of ONNX Runtime's defaults.
        rows: Texts, of which the first are run.
        found: What the CPU's graph gives, float32 [vectors, labels].
        reference: What fp32 gives.
        task: What the vectors are of.
        padding: The token that fills rows.
        left: Whether they are filled on the left.
        saturates: Whether this CPU's fastest int8 products overflow on the weights.
    """
    texts = min(TEXTS_COMPARED, len(rows.lengths))
    vectors = int(task.bounds(rows.lengths[:texts])[-1])
    found, reference = found[:vectors], reference[:vectors]
    allowed = float(np.abs(found - reference).max() + _ROUNDING * max(1.0, float(np.abs(reference).max())))
    for path, of_the_engine in graphs:
        run = _runner(path, of_the_engine=of_the_engine, saturates=saturates)
        logits = padded_logits(run, rows, texts, task=task, padding=padding, left=left)
        difference = float(np.abs(logits - found).max()) if logits.shape == found.shape else float("nan")
        if not difference <= allowed:  # NaN is no more than anything
            raise GraphsDifferError(path.name, difference, allowed)


Run = Callable[[dict[str, NDArray[np.int64]]], NDArray[np.float32]]


def padded_logits(
    run: Run, rows: TokenRows, count: int, *, task: ExportTask, padding: int, left: bool
) -> NDArray[np.float32]:
    """What `run` gives for the first `count` of `rows`, in their order and in batches of several lengths.

    float32 [vectors, labels]; a packed graph gives those of tokens without padding itself.
    """
    logits = []
    for start in range(0, count, _ROWS):
        batch = np.arange(start, min(start + _ROWS, count))
        width = int(rows.lengths[batch].max())
        inputs = {"input_ids": np.full((len(batch), width), padding, dtype=np.int64)}
        inputs |= {name: np.zeros((len(batch), width), dtype=np.int64) for name in ("attention_mask", "token_type_ids")}
        for line, row in enumerate(batch):
            length = int(rows.lengths[row])
            place = slice(width - length, width) if left else slice(0, length)
            for name, filled in inputs.items():
                filled[line, place] = rows.column(row, name)
        found = run(inputs)
        logits.append(found if found.ndim == _FLAT else task.vectors(found, inputs["attention_mask"]))
    return np.concatenate(logits)


def _runner(path: Path, *, of_the_engine: bool, saturates: bool) -> Run:
    ort = import_onnxruntime()
    if of_the_engine:
        options = session_options(path.parent, threads=available_cpus(), spinning=False, saturates=saturates)
    else:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if saturates:
            options.add_session_config_entry("session.x64quantprecision", "1")
    disabled: Any = DISABLED_OPTIMIZERS["cpu"] if of_the_engine else None
    session = ort.InferenceSession(str(path), options, providers=[PROVIDERS["cpu"]], disabled_optimizers=disabled)
    names = [value.name for value in session.get_inputs()]

    def run(inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(["logits"], {name: inputs[name] for name in names})[0]
        return logits

    return run
