"""Does the exported graph give torch's answers, and does ONNX Runtime keep it fused?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from onnxpress.cpu import available_cpus
from onnxpress.errors import CheckFailedError
from onnxpress.manifest import Parity, ProblemType
from onnxpress.session import DISABLED_OPTIMIZERS, Session, session_options
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.graph_census import attention_count, operator_counts

__all__ = [
    "LOGIT_TOLERANCE",
    "ParityError",
    "UnfusedAttentionError",
    "check_fusion",
    "check_parity",
    "session_operators",
    "torch_logits",
]

LOGIT_TOLERANCE: Final = 1e-4
"""fp32 sums in another order: about 1e-6 a layer on logits of order 1, with room for large logits and 24 layers."""

_SEED: Final = 20_240_229


class ParityError(CheckFailedError):
    """The graph's logits leave torch's by more than the tolerance."""

    def __init__(self, graph: str, batch: int, sequence: int, difference: float, tolerance: float) -> None:
        super().__init__(graph, batch, sequence, difference, tolerance)
        self.graph, self.batch, self.sequence = graph, batch, sequence
        self.difference, self.tolerance = difference, tolerance

    def __str__(self) -> str:
        return (
            f"{self.graph} differs from torch by {self.difference:.3g} at batch {self.batch}, {self.sequence} tokens; "
            f"the tolerance is {self.tolerance:g}. Nothing was written. Its architecture is not supported yet, "
            "or needs a larger --tolerance."
        )


class UnfusedAttentionError(CheckFailedError):
    """Fewer attentions are fused than the model has layers."""

    def __init__(self, where: str, fused: int, layers: int, architecture: str) -> None:
        super().__init__(where, fused, layers, architecture)
        self.where, self.fused, self.layers, self.architecture = where, fused, layers, architecture

    def __str__(self) -> str:
        return (
            f"{self.fused} of {self.layers} attentions of {self.architecture} are fused in {self.where}. "
            "Pass --allow-unfused to accept a slower graph."
        )


@dataclass(frozen=True, slots=True)
class _Case:
    """Random inputs of one shape; rows are padded to different lengths where `padded`."""

    batch: int
    sequence: int
    padded: bool


def check_fusion(operators: Mapping[str, int], *, layers: int, architecture: str, where: str) -> None:
    """Raise UnfusedAttentionError when `operators` holds fewer fused attentions than `layers`."""
    fused = attention_count(operators)
    if fused < layers:
        raise UnfusedAttentionError(where, fused, layers, architecture)


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
    """Compare the graphs with torch on random tokens: several batch sizes, lengths up to the maximum, padding.

    The portable graph runs padded batches in a session of ONNX Runtime's defaults; in the engine's own session the
    CPU's graph runs batches of equal lengths, and the packed graph padded ones. Returns what was measured over all.

    Raises:
        ParityError: Logits differ by more than `tolerance`.
    """
    generator = np.random.default_rng(_SEED)
    worst, rows, equal = 0.0, 0, 0
    cases = _cases(checkpoint.max_length)
    runs: list[tuple[Path, Callable[[Path], _Runner], bool]] = [
        (portable, _portable_runner, True),
        (cpu, _engine_runner, False),
    ]
    if packed is not None:
        runs.append((packed, _engine_runner, True))
    for graph, start, padded in runs:
        run = start(graph)
        for case in (case for case in cases if case.padded == padded):
            inputs = _random_inputs(checkpoint, case, generator)
            found, wanted = run(inputs), torch_logits(checkpoint, inputs)
            difference = _difference(found, wanted)
            if not difference <= tolerance:
                raise ParityError(graph.name, case.batch, case.sequence, difference, tolerance)
            worst, rows = max(worst, difference), rows + case.batch
            equal += int(_same_labels(found, wanted, checkpoint.problem_type).sum())
        del run  # two sessions at once would hold the weights twice
    return Parity(
        cases=tuple((case.batch, case.sequence) for case in cases),
        rows=rows,
        max_difference=worst,
        tolerance=tolerance,
        equal_labels=equal,
    )


_Inputs = Mapping[str, NDArray[np.int64]]
_Runner = Callable[[_Inputs], NDArray[np.float32]]


def _engine_runner(graph: Path) -> _Runner:
    session = Session(graph.read_bytes(), graph.parent, device="cpu", threads=available_cpus(), spinning=False)
    return lambda inputs: session.run({name: inputs[name] for name in session.input_names})


def _portable_runner(graph: Path) -> _Runner:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(inputs: _Inputs) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(["logits"], {name: inputs[name] for name in names})[0]
        return logits

    return run


def _cases(max_length: int) -> tuple[_Case, ...]:
    lengths = [length for length in (1, 7, 33, 130) if length < max_length] + [max_length]
    return tuple(_Case(batch, length, padded) for padded in (True, False) for length in lengths for batch in (1, 5))


def _random_inputs(checkpoint: Checkpoint, case: _Case, generator: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    tokenizer, shape = checkpoint.tokenizer, (case.batch, case.sequence)
    special = set(tokenizer.all_special_ids)
    words = np.array([token for token in range(checkpoint.model.config.vocab_size) if token not in special])
    lengths = np.full(case.batch, case.sequence)
    if case.padded:
        lengths[1:] = generator.integers(1, case.sequence + 1, case.batch - 1)
    positions = np.arange(case.sequence)
    offset = case.sequence - lengths if tokenizer.padding_side == "left" else np.zeros_like(lengths)
    mask = (positions >= offset[:, None]) & (positions < (offset + lengths)[:, None])
    types = getattr(checkpoint.model.config, "type_vocab_size", 1) or 1
    return {
        "input_ids": np.where(mask, generator.choice(words, shape), tokenizer.pad_token_id or 0).astype(np.int64),
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.where(mask, generator.integers(0, types, shape), 0).astype(np.int64),
    }


def torch_logits(checkpoint: Checkpoint, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """What torch gives for `inputs`, int64 [rows, sequence] by name: float32 [rows, labels]."""
    with torch.no_grad():
        tensors: dict[str, Any] = {name: torch.from_numpy(inputs[name]) for name in checkpoint.input_names}
        logits: NDArray[np.float32] = checkpoint.model(**tensors).logits.numpy()
    return logits


def _difference(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Largest absolute difference; NaN, which is no more than any tolerance, where shapes differ or either has one."""
    return float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("nan")


def _same_labels(
    found: NDArray[np.float32], wanted: NDArray[np.float32], problem_type: ProblemType
) -> NDArray[np.bool_]:
    """Rows that predict the same: the best label, every label's side of one half, or the value by its tolerance."""
    same: NDArray[np.bool_]
    if problem_type == "single_label_classification":
        same = found.argmax(-1) == wanted.argmax(-1)
    elif problem_type == "multi_label_classification":
        same = ((found > 0) == (wanted > 0)).all(-1)
    else:
        same = np.ones(len(found), dtype=np.bool_)  # a regression's answer is its value, which the tolerance covers
    return same
