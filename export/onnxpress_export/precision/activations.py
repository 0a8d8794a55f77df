"""What the values of a graph look like on real texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxpress.inputs.encoder import TokenRows
from onnxpress.running.planner import plan_batches
from onnxpress.sessions.session import DISABLED_OPTIMIZERS, PROVIDERS, import_onnxruntime, session_options

__all__ = ["Activations", "record_activations", "watch_values"]

_MAX_TOKENS: Final = 512


@dataclass(frozen=True, slots=True)
class Activations:
    """One value over the calibration texts.

    Attributes:
        low, high: Smallest and largest of each channel over all tokens, float32 [channels].
        mean: Mean of each channel over all tokens, float32 [channels].
        tokens: A random choice of tokens, float32 [tokens, channels].
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float32]
    tokens: NDArray[np.float32]


def record_activations(
    model: ir.Model, folder: Path, rows: TokenRows, names: Sequence[str], *, threads: int, kept: int, seed: int
) -> dict[str, Activations]:
    """Run `model`, whose weights lie in `folder`, over `rows`, and watch the values `names`.

    About `kept` tokens of each value are kept whole; `seed` chooses them.
    """
    total, generator = int(rows.lengths.sum()), np.random.default_rng(seed)
    watchers = {name: _Watcher() for name in names}
    for batch, found in watch_values(model, folder, rows, names, threads=threads, max_tokens=_MAX_TOKENS):
        chosen = generator.random(len(batch) * int(rows.lengths[batch[0]])) * total < kept
        for name, content in found.items():
            watchers[name].see(content.reshape(-1, content.shape[-1]), chosen)
    return {name: watcher.activations() for name, watcher in watchers.items()}


def watch_values(
    model: ir.Model, folder: Path, rows: TokenRows, names: Sequence[str], *, threads: int, max_tokens: int
) -> Iterator[tuple[NDArray[np.intp], dict[str, NDArray[np.float32]]]]:
    """Run `model` over `rows` in batches of equal length; yields the rows of each and its values `names`, by name."""
    watched = model.clone()
    values = {value.name: value for node in watched.graph for value in node.outputs}
    watched.graph.outputs.extend(value for name in names if not (value := values[name]).is_graph_output())
    session = import_onnxruntime().InferenceSession(
        ir.to_proto(watched).SerializeToString(),
        session_options(folder, threads=threads, spinning=False),
        providers=[PROVIDERS["cpu"]],
        disabled_optimizers=DISABLED_OPTIMIZERS["cpu"],
    )
    inputs = [value.name for value in session.get_inputs()]
    for batch in plan_batches(rows.lengths, max_tokens=max_tokens):
        yield batch, dict(zip(names, session.run(list(names), rows.inputs(batch, inputs)), strict=True))


class _Watcher:
    def __init__(self) -> None:
        self._lows: list[NDArray[np.float32]] = []
        self._highs: list[NDArray[np.float32]] = []
        self._sums: list[NDArray[np.float64]] = []
        self._kept: list[NDArray[np.float32]] = []
        self._count = 0

    def see(self, tokens: NDArray[np.float32], chosen: NDArray[np.bool_]) -> None:
        self._lows.append(tokens.min(axis=0))
        self._highs.append(tokens.max(axis=0))
        self._sums.append(tokens.sum(axis=0, dtype=np.float64))
        self._count += len(tokens)
        # a value that holds one token a row, behind the pruning, is kept whole
        self._kept.append(tokens[chosen] if len(chosen) == len(tokens) else tokens.copy())

    def activations(self) -> Activations:
        return Activations(
            low=np.min(self._lows, axis=0),
            high=np.max(self._highs, axis=0),
            mean=(np.sum(self._sums, axis=0) / self._count).astype(np.float32),
            tokens=np.concatenate(self._kept),
        )
