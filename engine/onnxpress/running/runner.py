"""Tokenized rows to logits, as each device likes it: equal lengths on the CPU, padded buckets on CUDA."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.inputs.encoder import TokenRows
from onnxpress.running.planner import (
    Bucket,
    bucket_widths,
    packed_width,
    plan_batches,
    plan_buckets,
    plan_packed,
    rows_of_width,
    widths_together,
)
from onnxpress.running.worker_sessions import WorkerSessions
from onnxpress.sessions.ending import native
from onnxpress.sessions.session import Session, import_onnxruntime

__all__ = ["RUN_COST", "Company", "EqualLengths", "PackedRows", "PaddedBuckets", "Runner"]

RUN_COST: Final[Mapping[str, int]] = MappingProxyType({"fp32": 4_096, "int8": 1_024})
"""What a run costs before its first token, by precision, in scores of one attention over all layers and heads.

MiniLM-L6 on two cores: fp32 takes 1.5 ms to read its weights, int8 0.3 ms, and a score of a packed attention 0.26 us,
so 5,800 and 1,200. Wider models have more weights to a score, so these figures err towards smaller batches.
"""

_IDS: Final = "input_ids"
_MASK: Final = "attention_mask"


@dataclass(frozen=True, slots=True)
class Company:
    """What may run in one batch.

    Attributes:
        widths: Of its rows, descending.
        rows: How many at most.
    """

    widths: tuple[int, ...]
    rows: int


class EqualLengths:
    """Runs batches of rows of one length on a graph that takes no mask. Several threads may run at once."""

    def __init__(self, session: Session | WorkerSessions, *, max_tokens: int) -> None:
        self.session = session
        self.max_tokens = max_tokens

    def plan(self, lengths: NDArray[np.int64], workers: int) -> list[Bucket]:
        """Batches to `run`, largest first."""
        batches = plan_batches(lengths, max_tokens=self.max_tokens, workers=workers)
        return [Bucket(rows, len(rows), int(lengths[rows[0]])) for rows in batches]

    def width(self, tokens: int) -> int:
        """What a row of `tokens` tokens is padded to."""
        return tokens

    def company(self, waiting: Mapping[int, int], width: int) -> Company:
        """What may run beside a row of `width`: rows of that width alone."""
        return Company((width,), rows_of_width(width, self.max_tokens))

    def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
        """Logits, float32 [vectors, labels]: those of each row of the bucket, one after the other."""
        logits = self.session.run(rows.inputs(bucket.rows, self.session.input_names))
        return logits.reshape(-1, logits.shape[-1])

    def close(self) -> None:
        """Free the session, which nothing may use any more."""
        self.session.close()


class PackedRows:
    """Runs rows of different lengths at once on a graph that drops their padding. Several threads may run at once.

    Widths are multiples of 16, or the longest there is: then no sum in an attention is blocked otherwise for other
    padding, and no bit of an answer depends on what runs beside it.
    """

    def __init__(
        self,
        session: Session | WorkerSessions,
        *,
        max_tokens: int,
        max_length: int,
        padding: int,
        run_cost: int = RUN_COST["int8"],
    ) -> None:
        """Make one for texts of at most `max_length` tokens, in batches of at most `max_tokens`, padding included.

        `padding` is the token that fills rows; `run_cost` what a run costs, in scores (`plan_packed`).
        """
        self.session = session
        self.max_tokens = max_tokens
        self._max_length = max_length
        self._padding = padding
        self._run_cost = run_cost

    def plan(self, lengths: NDArray[np.int64], workers: int) -> list[Bucket]:
        """Batches to `run`, widest first."""
        return plan_packed(lengths, max_tokens=self.max_tokens, max_length=self._max_length, run_cost=self._run_cost)

    def width(self, tokens: int) -> int:
        """What a row of `tokens` tokens is padded to where no wider one is beside it."""
        return packed_width(tokens, self._max_length)

    def company(self, waiting: Mapping[int, int], width: int) -> Company:
        """What may run beside a row of `width`, where rows wait by their width."""
        together = widths_together(waiting, max_tokens=self.max_tokens, run_cost=self._run_cost)
        widths = next(widths for widths in together if width in widths)
        return Company(tuple(widths), rows_of_width(widths[0], self.max_tokens))

    def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
        """Logits, float32 [vectors, labels]: those of each row of the bucket, one after the other."""
        return self.session.run(_padded_inputs(rows, bucket, self.session.input_names, self._padding))

    def close(self) -> None:
        """Free the session, which nothing may use any more."""
        self.session.close()


@dataclass(frozen=True, slots=True)
class _Slot:
    """A shape's binding: its inputs stay where the device reads them."""

    inputs: Mapping[str, Any]
    binding: Any
    options: Any


class PaddedBuckets:
    """Runs padded batches on a graph that takes a mask, through buffers that each shape keeps on the device.

    One thread runs at a time.
    """

    def __init__(
        self, session: Session, *, max_tokens: int, max_length: int, padding: int, graphs: bool = False
    ) -> None:
        """Make one for texts of at most `max_length` tokens, in batches of at most `max_tokens`.

        `padding` is the token that fills rows; `graphs` records a CUDA graph for each shape.
        """
        self.session = session
        self.max_tokens = max_tokens
        self._widths = bucket_widths(max_length)
        self._padding = padding
        self._graphs = graphs
        self._slots: dict[tuple[int, int], _Slot] = {}
        self._lock = threading.Lock()

    def plan(self, lengths: NDArray[np.int64], workers: int) -> list[Bucket]:
        """Batches to `run`, largest first."""
        return plan_buckets(lengths, self._widths, max_tokens=self.max_tokens)

    def width(self, tokens: int) -> int:
        """What a row of `tokens` tokens is padded to."""
        return self._widths[bisect_left(self._widths, tokens)]

    def company(self, waiting: Mapping[int, int], width: int) -> Company:
        """What may run beside a row of `width`: rows of that width alone."""
        return Company((width,), rows_of_width(width, self.max_tokens))

    def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
        """Logits, float32 [vectors, labels]: those of each row of the bucket, one after the other."""
        padded = _padded_inputs(rows, bucket, self.session.input_names, self._padding)
        with native, self._lock:
            shape = (bucket.height, bucket.width)
            if (slot := self._slots.get(shape)) is None:
                slot = self._slots[shape] = self._bind(shape, len(self._slots))
            for name, content in padded.items():
                slot.inputs[name].update_inplace(content)
            self.session.run_bound(slot.binding, slot.options)
            logits: NDArray[np.float32] = slot.binding.copy_outputs_to_cpu()[0]
        if logits.ndim == 2:
            return logits[: len(bucket.rows)]
        return np.concatenate([row[:length] for row, length in zip(logits, rows.lengths[bucket.rows], strict=False)])

    def close(self) -> None:
        """Free the session and the buffers, which nothing may use any more."""
        self._slots.clear()
        self.session.close()

    def _bind(self, shape: tuple[int, int], number: int) -> _Slot:
        ort, device, index = import_onnxruntime(), self.session.device, self.session.index
        binding = self.session.inference_session.io_binding()
        inputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(shape, np.int64, device, index)
            for name in self.session.input_names
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        logits = (*shape[: self.session.output_rank - 1], self.session.label_count)
        binding.bind_ortvalue_output(
            "logits", ort.OrtValue.ortvalue_from_shape_and_type(logits, np.float32, device, index)
        )
        options = ort.RunOptions()
        if device == "cuda":
            options.add_run_config_entry("gpu_graph_id", str(number + 1 if self._graphs else -1))
        return _Slot(inputs, binding, options)


Runner = EqualLengths | PackedRows | PaddedBuckets


def _padded_inputs(rows: TokenRows, bucket: Bucket, names: Sequence[str], padding: int) -> dict[str, NDArray[np.int64]]:
    return {name: _padded(rows, bucket, name, padding if name == _IDS else 0) for name in names}


def _padded(rows: TokenRows, bucket: Bucket, name: str, padding: int) -> NDArray[np.int64]:
    """The input `name`, int64 [height, width], filled with `padding`.

    Rows that only fill the bucket look at one token, so that no softmax is empty.
    """
    content = np.full((bucket.height, bucket.width), padding, dtype=np.int64)
    if name == _MASK:
        content[len(bucket.rows) :, 0] = 1
    for place, row in enumerate(bucket.rows):
        content[place, : rows.lengths[row]] = rows.column(row, name)
    return content
