"""The graphs of each precision: written, counted, and the lower ones measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import onnx_ir as ir

from onnxpress.errors import ConfigError
from onnxpress.fidelity import Answers, Decision, require_budget
from onnxpress.machine import int8_target
from onnxpress.manifest import Fidelity, Graph, Target, Variant
from onnxpress_export.artifact import (
    HALF_GRAPH_NAME,
    HALF_WEIGHTS_NAME,
    INT8_CPU_GRAPH_NAME,
    INT8_GRAPH_NAME,
    INT8_PACKED_GRAPH_NAME,
    INT8_WEIGHTS_NAME,
    write_graph,
    write_weights,
)
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.graph_census import operator_counts, weight_counts
from onnxpress_export.passes import CPU, PACKED, PORTABLE, Passes, apply_passes
from onnxpress_export.precision.half import convert_to_half, nodes_kept_single
from onnxpress_export.precision.int8 import choose_int8, measure_fidelity
from onnxpress_export.precision.sample import Sample, torch_answers

__all__ = [
    "MAX_DISAGREEMENT",
    "Fp32",
    "Int8For",
    "check_precisions",
    "write_and_count",
    "write_lower_precisions",
    "write_packed",
]

Int8For = Literal["auto", "avx2", "avx512", "vnni", "arm64"]

MAX_DISAGREEMENT: Final = 0.005

_PRECISIONS: Final = ("fp32", "fp16", "int8")


def check_precisions(precisions: Sequence[str], budget: float) -> None:
    """Raise ConfigError when an export cannot be asked for these together."""
    if unknown := [name for name in precisions if name not in _PRECISIONS]:
        raise ConfigError(f"precision must be {' or '.join(_PRECISIONS)}, got {unknown[0]!r}")
    if "fp32" not in precisions:
        raise ConfigError("fp32 is always written: the others are measured by it. Add it to the precisions.")
    if not 0 <= budget < 1:
        raise ConfigError(f"max_disagreement must be from 0 to below 1, got {budget!r}")


def write_and_count(
    model: ir.Model, passes: Passes, common_rewrites: Mapping[str, int], directory: Path, name: str
) -> Graph:
    """Apply `passes` to `model` in place, write it as the file `name`, and say what is in it."""
    rewrites = {**common_rewrites, **apply_passes(model, passes)}
    write_graph(model, directory, name)
    return Graph(
        file=name, operators=operator_counts(model.graph), weights=weight_counts(model.graph), rewrites=rewrites
    )


def write_packed(masked: ir.Model, common_rewrites: Mapping[str, int], directory: Path, name: str) -> Graph | None:
    """Write the graph that packs the tokens of `masked`, which stays as it is; None where nothing can be packed."""
    model = masked.clone()
    rewrites = apply_passes(model, PACKED)
    if not any(rewrites.values()):
        return None
    return write_and_count(model, {}, {**common_rewrites, **rewrites}, directory, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp32:
    """What the lower precisions are made from.

    Attributes:
        checkpoint: What is exported.
        packs: Whether its answers are those of texts without padding, so that graphs may leave it out.
        masked: The fp32 graph that takes a padding mask, before the passes of a device; its weights are written.
        cpu: The CPU's fp32 graph: what answers are compared with.
        rewrites: What made `masked`.
        decision: What an answer is.
        directory: Where to write, and where the weights are.
        sample: Texts to choose and to measure by.
        budget: Share of answers that may change.
        on_step: Told the name of each step.
    """

    checkpoint: Checkpoint
    packs: bool
    masked: ir.Model
    cpu: ir.Model
    rewrites: Mapping[str, int]
    decision: Decision
    directory: Path
    sample: Sample
    budget: float
    on_step: Callable[[str], None]


def write_lower_precisions(source: Fp32, precisions: Sequence[str], *, int8_for: Int8For) -> list[Variant]:
    """Write the fp16 and int8 variants that `precisions` names; "fp32" is passed over.

    Raises:
        CheckFailedError: A precision changes more answers than the budget.
    """
    wanted = set(precisions) - {"fp32"}
    if not wanted:
        return []
    source.on_step("asking torch about unseen texts")
    torch_says = torch_answers(source.checkpoint, source.sample, source.decision)
    variants = []
    if "fp16" in wanted:
        variants.append(_write_half(source, torch_says))
    if "int8" in wanted:
        variants.append(_write_int8(source, torch_says, _target(int8_for)))
    return variants


def _write_int8(source: Fp32, torch_says: Answers, target: Target) -> Variant:
    model, directory = source.masked.clone(), source.directory
    recipe = choose_int8(
        source.cpu,
        directory,
        source.sample,
        source.decision,
        target=target,
        budget=source.budget,
        on_step=source.on_step,
    )
    rewrites = {**source.rewrites, "quantize": recipe.apply(model)}
    write_weights(model, directory, INT8_WEIGHTS_NAME)
    portable = write_and_count(model.clone(), {}, rewrites, directory, INT8_GRAPH_NAME)
    packed = write_packed(model, rewrites, directory, INT8_PACKED_GRAPH_NAME) if source.packs else None
    cpu = write_and_count(model, CPU, rewrites, directory, INT8_CPU_GRAPH_NAME)
    return Variant(
        precision="int8",
        portable=portable,
        cpu=cpu,
        packed=packed,
        weights=(INT8_WEIGHTS_NAME,),
        fidelity=_measured(source, "int8", model, torch_says, timed=True),
        target=target,
        search=recipe.candidates,
        drift=recipe.drift(source.cpu, directory, source.sample),
    )


def _write_half(source: Fp32, torch_says: Answers) -> Variant:
    """Its one graph takes a mask: on CUDA batches are padded."""
    model, directory = source.masked.clone(), source.directory
    rewrites = {**source.rewrites, **apply_passes(model, PORTABLE)}
    source.on_step("looking for what fp16 cannot hold")
    kept = nodes_kept_single(model, directory, source.sample.seen_rows)
    rewrites["convert_to_half"] = convert_to_half(model, kept)
    write_weights(model, directory, HALF_WEIGHTS_NAME)
    graph = write_and_count(model, {}, rewrites, directory, HALF_GRAPH_NAME)
    # not timed: a CPU converts to fp32 and back at every node
    fidelity = _measured(source, "fp16", model, torch_says, timed=False)
    return Variant(precision="fp16", portable=graph, cpu=graph, weights=(HALF_WEIGHTS_NAME,), fidelity=fidelity)


def _measured(source: Fp32, precision: str, model: ir.Model, torch_says: Answers, *, timed: bool) -> Fidelity:
    """The fidelity of `model` on unseen texts, which is within the budget."""
    source.on_step(f"measuring {precision} on unseen texts")
    fidelity = measure_fidelity(
        source.cpu,
        model,
        source.directory,
        source.sample,
        source.checkpoint.labels,
        source.decision,
        torch=torch_says,
        budget=source.budget,
        timed=timed,
    )
    require_budget(fidelity, precision)
    return fidelity


def _target(name: Int8For) -> Target:
    if name == "auto":
        return int8_target()
    return "avx2" if name == "avx512" else name  # without VNNI its products saturate just the same
