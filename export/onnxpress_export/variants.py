"""The graphs of each precision: written, counted, and the lower ones measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

import onnx_ir as ir

from onnxpress.answers.fidelity import Answers, Decision, FidelityError, require_budget
from onnxpress.artifacts.cascade_record import Cascade
from onnxpress.artifacts.manifest import Graph, Target, Variant
from onnxpress.errors import CheckFailedError, ConfigError
from onnxpress.hardware.machine import int8_target, saturates
from onnxpress_export.artifact import (
    HALF_GRAPH_NAME,
    HALF_WEIGHTS_NAME,
    INT8_CPU_GRAPH_NAME,
    INT8_GRAPH_NAME,
    INT8_PACKED_GRAPH_NAME,
    INT8_WEIGHTS_NAME,
    WEIGHTS_NAME,
    write_graph,
    write_weights,
)
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.graph_census import operator_counts, weight_counts
from onnxpress_export.passes import CPU, PACKED, PORTABLE, Passes, apply_passes
from onnxpress_export.precision.half import convert_to_half, nodes_kept_single
from onnxpress_export.precision.int8 import (
    Int8,
    Measured,
    NoGainError,
    choose_int8,
    fastest_alone,
    fastest_with_recheck,
    measure_fidelity,
)
from onnxpress_export.precision.sample import Sample, torch_answers
from onnxpress_export.precision.trial import Trial
from onnxpress_export.precision.twins import TEXTS_COMPARED, require_alike

__all__ = [
    "MAX_DISAGREEMENT",
    "Fp32",
    "Int8For",
    "Lower",
    "check_precisions",
    "write_and_count",
    "write_lower_precisions",
    "write_packed",
]

Int8For = Literal["auto", "avx2", "avx512", "vnni", "arm64"]

MAX_DISAGREEMENT: Final = 0.005

_PRECISIONS: Final = ("fp32", "fp16", "int8")
_BESIDE_FIRST: Final = 0.5
"""Share of the budget that int8 is chosen by where a first stage has the rest."""


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
    """Write the graph that packs the tokens of `masked`, which stays as it is; None where it packs nothing."""
    model = masked.clone()
    rewrites = apply_passes(model, PACKED)
    if not rewrites["pack_tokens"]:
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
        recheck: Whether fp32 may answer again what int8 is not sure of.
        first_stage: Whether a first stage will share the budget.
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
    recheck: bool
    first_stage: bool = False


@dataclass(slots=True)
class Lower:
    """The lower precisions.

    Attributes:
        variants: Those that kept their promise.
        refused: Why each other one did not: of it no file is left.
        cascade: Which answers of int8 are given again by fp32; None where none are.
    """

    variants: list[Variant] = field(default_factory=list)
    refused: list[CheckFailedError] = field(default_factory=list)
    cascade: Cascade | None = None


def write_lower_precisions(source: Fp32, precisions: Sequence[str], *, int8_for: Int8For) -> Lower:
    """Write the fp16 and int8 variants that `precisions` names; "fp32" is passed over."""
    wanted, lower = set(precisions) - {"fp32"}, Lower()
    if not wanted:
        return lower
    source.on_step("asking torch about unseen texts")
    torch_says = torch_answers(source.checkpoint, source.sample, source.decision)
    for name, write in (("fp16", _write_half), ("int8", partial(_write_int8, target=_target(int8_for)))):
        if name in wanted:
            try:
                variant, cascade = write(source, torch_says)
                lower.variants.append(variant)
                lower.cascade = lower.cascade or cascade
            except CheckFailedError as error:
                lower.refused.append(error)
    return lower


@contextmanager
def _files_kept_only_of_success(directory: Path) -> Iterator[None]:
    """After an error, remove what was written into `directory` since."""
    before = set(directory.iterdir())
    try:
        yield
    except CheckFailedError:
        for path in set(directory.iterdir()) - before:
            path.unlink()
        raise


def _write_int8(source: Fp32, torch_says: Answers, *, target: Target) -> tuple[Variant, Cascade | None]:
    refused: FidelityError | None = None
    strategy = fastest_with_recheck if source.recheck else fastest_alone
    if source.decision.activation == "identity" and source.recheck:
        source.on_step("a regression has no margin: no text is answered again, and int8 keeps the budget alone")
        strategy = fastest_alone
    attempts = choose_int8(
        source.cpu,
        source.directory,
        source.sample,
        source.decision,
        target=target,
        budget=source.budget * (_BESIDE_FIRST if source.first_stage else 1),
        on_step=source.on_step,
        strategy=strategy,
    )
    for recipe, sample in attempts:
        says = torch_says if sample is source.sample else torch_answers(source.checkpoint, sample, source.decision)
        try:
            return _int8_variant(replace(source, sample=sample), says, recipe, target)
        except FidelityError as error:
            refused = refused or error
    assert refused is not None  # the first attempt is always there, or raises
    raise refused


def _int8_variant(source: Fp32, torch_says: Answers, recipe: Int8, target: Target) -> tuple[Variant, Cascade | None]:
    with _files_kept_only_of_success(source.directory):
        model, directory = source.masked.clone(), source.directory
        rewrites = {**source.rewrites, "quantize": recipe.apply(model)}
        write_weights(model, directory, INT8_WEIGHTS_NAME)
        portable = write_and_count(model.clone(), {}, rewrites, directory, INT8_GRAPH_NAME)
        packed = write_packed(model, rewrites, directory, INT8_PACKED_GRAPH_NAME) if source.packs else None
        cpu = write_and_count(model, CPU, rewrites, directory, INT8_CPU_GRAPH_NAME)
        measured = _measured(source, "int8", model, torch_says, target=target, recipe=recipe)
        fidelity = measured.fidelity
        size = _size(directory, INT8_WEIGHTS_NAME) / _size(directory, WEIGHTS_NAME)
        if size >= 1 and (fidelity.speed is None or fidelity.speed <= 1):
            raise NoGainError(recipe.quantized, recipe.products, fidelity.speed, size)
        source.on_step("comparing the int8 graphs")
        _require_alike(source, model, portable, packed, target)
        variant = Variant(
            precision="int8",
            portable=portable,
            cpu=cpu,
            packed=packed,
            weights=(INT8_WEIGHTS_NAME,),
            fidelity=fidelity,
            target=target,
            search=recipe.candidates,
            drift=recipe.drift(source.cpu, directory, source.sample),
        )
        return variant, measured.cascade


def _require_alike(source: Fp32, cpu: ir.Model, portable: Graph, packed: Graph | None, target: Target) -> None:
    """Raise GraphsDifferError where the graphs that take padding do not give the logits of `cpu`, int8's graph."""
    tokenizer, rows = source.checkpoint.tokenizer, source.sample.unseen_rows
    trial = Trial(rows, source.directory, first=TEXTS_COMPARED, saturates=saturates(target))
    graphs = [(source.directory / portable.file, False)]
    if packed is not None:
        graphs.append((source.directory / packed.file, True))
    require_alike(
        graphs,
        rows,
        trial.logits(cpu),
        trial.logits(source.cpu),
        task=source.checkpoint.task,
        padding=tokenizer.pad_token_id or 0,
        left=tokenizer.padding_side == "left",
        saturates=trial.saturates,
    )


def _size(directory: Path, name: str) -> int:
    return (directory / name).stat().st_size


def _write_half(source: Fp32, torch_says: Answers) -> tuple[Variant, None]:
    """Its one graph takes a mask: on CUDA batches are padded."""
    model, directory = source.masked.clone(), source.directory
    rewrites = {**source.rewrites, **apply_passes(model, PORTABLE)}
    source.on_step("looking for what fp16 cannot hold")
    kept = nodes_kept_single(model, directory, source.sample.seen_rows)
    rewrites["convert_to_half"] = convert_to_half(model, kept)
    with _files_kept_only_of_success(directory):
        write_weights(model, directory, HALF_WEIGHTS_NAME)
        graph = write_and_count(model, {}, rewrites, directory, HALF_GRAPH_NAME)
        fidelity = _measured(source, "fp16", model, torch_says, target=None, recipe=None).fidelity
    variant = Variant(precision="fp16", portable=graph, cpu=graph, weights=(HALF_WEIGHTS_NAME,), fidelity=fidelity)
    return variant, None


def _measured(
    source: Fp32, precision: str, model: ir.Model, torch_says: Answers, *, target: Target | None, recipe: Int8 | None
) -> Measured:
    """What was measured of `model` on unseen texts; it is within the budget."""
    source.on_step(f"measuring {precision} on unseen texts")
    measured = measure_fidelity(
        source.cpu,
        model,
        source.directory,
        source.sample,
        source.checkpoint.labels,
        source.decision,
        torch=torch_says,
        budget=source.budget,
        name=precision,
        target=target,
        recipe=recipe,
        timed=precision == "int8",  # fp16: a CPU converts to fp32 and back at every node
    )
    require_budget(measured.fidelity, precision, outcome=f"{precision} was left out. ")
    return measured


def _target(name: Int8For) -> Target:
    if name == "auto":
        return int8_target()
    return "avx2" if name == "avx512" else name  # without VNNI its products saturate just the same
