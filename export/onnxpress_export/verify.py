"""Does the exported graph give torch's answers, and does ONNX Runtime keep it fused?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from onnxpress.artifacts.manifest import Parity, ProblemType
from onnxpress.errors import CheckFailedError
from onnxpress.hardware.cpu import available_cpus
from onnxpress.inputs.vectors import places_of
from onnxpress.sessions.session import DISABLED_OPTIMIZERS, Session, session_options
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.graph_census import attention_count, operator_counts
from onnxpress_export.model_inputs import attention_heads, ending_token
from onnxpress_export.parity_rows import Case, RowSource, padded_by, parity_cases
from onnxpress_export.parity_rows import parity_inputs as _random_inputs
from onnxpress_export.reference import fresh
from onnxpress_export.tasks import all_of_each

__all__ = [
    "LOGIT_TOLERANCE",
    "GraphFailedError",
    "ParityError",
    "UnfusedAttentionError",
    "check_fusion",
    "check_parity",
    "depends_on_padding",
    "session_operators",
    "torch_logits",
]

LOGIT_TOLERANCE: Final = 1e-4
"""Of the largest logit, or of 1 where all are smaller: fp32 sums in another order move one by about 1e-6 of that a
layer, with room for 24 layers."""

_SEED: Final = 20_240_229


class ParityError(CheckFailedError):
    """The graph's logits leave torch's by more than the tolerance."""

    def __init__(
        self, graph: str, architecture: str, batch: int, sequence: int, difference: float, tolerance: float
    ) -> None:
        super().__init__(graph, architecture, batch, sequence, difference, tolerance)
        self.graph, self.architecture = graph, architecture
        self.batch, self.sequence = batch, sequence
        self.difference, self.tolerance = difference, tolerance

    def __str__(self) -> str:
        return (
            f"{self.graph} differs from torch by {self.difference:.3g} at batch {self.batch}, {self.sequence} tokens; "
            f"the tolerance is {self.tolerance:.3g}. Nothing was written. Most likely a part of {self.architecture} is "
            "not understood yet, and the graph is wrong: please report it."
        )


class GraphFailedError(CheckFailedError):
    """ONNX Runtime cannot run the graph on what torch has an answer to."""

    def __init__(self, graph: str, architecture: str, batch: int, sequence: int, cause: str) -> None:
        super().__init__(graph, architecture, batch, sequence, cause)
        self.graph, self.architecture = graph, architecture
        self.batch, self.sequence, self.cause = batch, sequence, cause

    def __str__(self) -> str:
        return (
            f"ONNX Runtime cannot run {self.graph} at batch {self.batch}, {self.sequence} tokens ({self.cause}). "
            f"Nothing was written. A part of {self.architecture} is not understood yet: please report it."
        )


class UnfusedAttentionError(CheckFailedError):
    """Fewer attentions are fused than the architecture promises."""

    def __init__(self, where: str, fused: int, promised: int, architecture: str) -> None:
        super().__init__(where, fused, promised, architecture)
        self.where, self.fused, self.promised, self.architecture = where, fused, promised, architecture

    def __str__(self) -> str:
        return (
            f"{self.fused} of {self.promised} attentions of {self.architecture} are fused in {self.where}. "
            "Pass --allow-unfused to accept a slower graph."
        )


def check_fusion(operators: Mapping[str, int], *, promised: int, architecture: str, where: str) -> None:
    """Raise UnfusedAttentionError when `operators` holds fewer fused attentions than are `promised`."""
    fused = attention_count(operators)
    if fused < promised:
        raise UnfusedAttentionError(where, fused, promised, architecture)


def session_operators(graph: Path) -> dict[str, int]:
    """Operators that the engine's session on the CPU really runs, after ONNX Runtime's own optimizations."""
    with TemporaryDirectory(dir=graph.parent) as folder:  # it holds the weights: where there is room for them
        optimized = Path(folder) / "optimized.onnx"
        options = session_options(graph.parent, threads=1, spinning=False)
        options.optimized_model_filepath = str(optimized)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        ort.InferenceSession(
            graph.read_bytes(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=DISABLED_OPTIMIZERS["cpu"],
        )
        return operator_counts(ir.load(optimized).graph)


def check_parity(
    checkpoint: Checkpoint, portable: Path, cpu: Path, packed: Path | None, *, tolerance: float = LOGIT_TOLERANCE
) -> Parity:
    """Compare the graphs with torch on text and on random tokens: several batch sizes, lengths and paddings.

    The portable graph runs padded batches in a session of ONNX Runtime's defaults; in the engine's own session the
    CPU's graph runs batches of equal lengths, and the packed graph padded ones, whose vectors it gives one after the
    other. What they say of padding is no answer. Torch answers each time with a model in the state of loading. Returns
    what was measured over all.

    Raises:
        ParityError: Logits differ by more than `tolerance` times the largest of torch's, or than `tolerance` where
            that is below 1.
    """
    generator = np.random.default_rng(_SEED)
    architecture = type(checkpoint.model).__name__
    source = RowSource(checkpoint)
    cases = parity_cases(checkpoint.max_length, attention_heads(checkpoint.model))
    task = checkpoint.task
    runs: list[tuple[Path, Callable[[Path], _Runner], _Vectors, bool]] = [
        (portable, _portable_runner, task.vectors, True),
        (cpu, _engine_runner, task.vectors, False),
    ]
    if packed is not None:
        runs.append((packed, _engine_runner, _as_it_is, True))
    asked: dict[int, tuple[_Inputs, NDArray[np.float32]]] = {}  # torch answers a case once for all graphs
    shapes: dict[tuple[int, int], None] = {}
    worst, largest, rows, text_rows, equal = 0.0, 0.0, 0, 0, 0
    for graph, start, read, padded in runs:
        run = start(graph)
        for number, case in ((number, case) for number, case in enumerate(cases) if case.padded == padded):
            if number not in asked:
                made = _random_inputs(source, case, generator)
                asked[number] = made, torch_logits(checkpoint, made)
            inputs, wanted = asked[number]
            batch, sequence = inputs["input_ids"].shape
            try:
                found = run(inputs)
            except Exception as error:  # ONNX Runtime's errors have no base class of their own
                cause = " ".join(str(error).split())[:200]
                raise GraphFailedError(graph.name, architecture, batch, sequence, cause) from error
            found = read(found, inputs["attention_mask"])
            difference, size = _difference(found, wanted), float(np.abs(wanted).max())
            limit = tolerance * max(1.0, size)
            if not difference <= limit:
                raise ParityError(graph.name, architecture, batch, sequence, difference, limit)
            shapes[batch, sequence] = None
            worst, largest, rows = max(worst, difference), max(largest, size), rows + batch
            text_rows += batch if case.rows == "text" else 0
            same = _same_labels(found, wanted, checkpoint.problem_type)
            equal += int(all_of_each(same, task.bounds(inputs["attention_mask"].sum(1))).sum())
        del run  # two sessions at once would hold the weights twice
    return Parity(
        cases=tuple(shapes),
        rows=rows,
        text_rows=text_rows,
        max_difference=worst,
        largest_logit=largest,
        tolerance=tolerance,
        equal_labels=equal,
    )


_Inputs = Mapping[str, NDArray[np.int64]]


def depends_on_padding(checkpoint: Checkpoint) -> bool:
    """Whether torch answers a text otherwise when padding stands beside it, by more than LOGIT_TOLERANCE.

    So do models that mix tokens without asking the mask (ConvBERT's convolutions), or count positions from the
    padding on. No graph that leaves padding out gives their answers to padded rows.
    """
    length = checkpoint.max_length // 2
    if length < 1:
        return False
    case = Case(1, min(length, 9), False, "random")
    inputs = _random_inputs(RowSource(checkpoint), case, np.random.default_rng(_SEED))
    alone, beside = (
        torch_logits(checkpoint, inputs),
        torch_logits(checkpoint, padded_by(checkpoint, inputs, case.sequence)),
    )
    return not _difference(beside, alone) <= LOGIT_TOLERANCE * max(1.0, float(np.abs(alone).max()))


_Runner = Callable[[_Inputs], NDArray[np.float32]]
_Vectors = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]


def _as_it_is(logits: NDArray[np.float32], _mask: NDArray[np.int64]) -> NDArray[np.float32]:
    return logits


def _engine_runner(graph: Path) -> _Runner:
    session = Session(graph.read_bytes(), graph.parent, device="cpu", threads=available_cpus(), spinning=False)
    return lambda inputs: session.run({name: inputs[name] for name in session.input_names})


def _portable_runner(graph: Path) -> _Runner:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch wants the CPUs in between
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(inputs: _Inputs) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(["logits"], {name: inputs[name] for name in names})[0]
        return logits

    return run


def torch_logits(checkpoint: Checkpoint, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """What torch as loaded answers to `inputs`, int64 [rows, sequence] by name: float32 [vectors, labels]."""
    ids, task = inputs["input_ids"], checkpoint.task
    mask = inputs.get("attention_mask", np.ones_like(ids))
    bounds = task.bounds(mask.sum(1))
    logits = np.empty((int(bounds[-1]), len(checkpoint.labels)), dtype=np.float32)
    for rows in _answered_together(checkpoint, ids):
        tensors: dict[str, Any] = {name: torch.from_numpy(inputs[name][rows]) for name in checkpoint.input_names}
        with torch.no_grad():
            found = fresh(checkpoint.model)(**tensors).logits.numpy()
        logits[places_of(rows, bounds)] = task.vectors(found, mask[rows])
    return logits


def _answered_together(checkpoint: Checkpoint, ids: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """All rows, or those with as many eos tokens each, where the model takes no others in one batch."""
    end = ending_token(checkpoint.model)
    counts = np.zeros(len(ids)) if end is None else (ids == end).sum(1)
    return [np.flatnonzero(counts == count) for count in np.unique(counts)]


def _difference(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Largest absolute difference; NaN, which is no more than any tolerance, where shapes differ or either has one."""
    return float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("nan")


def _same_labels(
    found: NDArray[np.float32], wanted: NDArray[np.float32], problem_type: ProblemType
) -> NDArray[np.bool_]:
    """Vectors that say the same: the best label, every label's side of one half, or the value by its tolerance."""
    same: NDArray[np.bool_]
    if problem_type == "single_label_classification":
        same = found.argmax(-1) == wanted.argmax(-1)
    elif problem_type == "multi_label_classification":
        same = ((found > 0) == (wanted > 0)).all(-1)
    else:
        same = np.ones(len(found), dtype=np.bool_)  # a regression's answer is its value, which the tolerance covers
    return same
