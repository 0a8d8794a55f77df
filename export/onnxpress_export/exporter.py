"""A checkpoint to an artifact: checkpoint, capture, passes, verify and artifact joined."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from os import PathLike, fspath
from pathlib import Path
from typing import Final, Literal, get_args

import onnx_ir as ir
import onnxruntime
from msgspec import structs
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.artifact import record_of
from onnxpress.artifacts.cascade_record import Cascade
from onnxpress.artifacts.manifest import SCHEMA_VERSION, Manifest, Provenance, Tokens, Variant
from onnxpress.errors import ConfigError
from onnxpress.examples import read_examples
from onnxpress.watching.profile import PROFILE_NAME
from onnxpress_export.artifact import (
    CPU_GRAPH_NAME,
    PACKED_GRAPH_NAME,
    PORTABLE_GRAPH_NAME,
    WEIGHTS_NAME,
    check_output,
    file_records,
    staged_directory,
    write_manifest,
    write_tokenizer,
    write_weights,
)
from onnxpress_export.baseline import write_baseline
from onnxpress_export.checkpoint import Checkpoint, load_checkpoint
from onnxpress_export.classifier_graph import capture_classifier, unfused_note, within_length_limit
from onnxpress_export.fidelity_report import write_report
from onnxpress_export.graph_census import attention_count, operator_counts, unfused_attentions
from onnxpress_export.layouts import LAYOUTS, Beside
from onnxpress_export.model_inputs import layer_count
from onnxpress_export.passes import CPU, PORTABLE, apply_passes
from onnxpress_export.precision.first_stage import add_first_stage
from onnxpress_export.precision.sample import Sample, read_sample
from onnxpress_export.precision.temperature import Scores, judge_scores, require_labels
from onnxpress_export.token_proof import check_tokens
from onnxpress_export.variants import (
    MAX_DISAGREEMENT,
    Fp32,
    Int8For,
    Lower,
    check_precisions,
    write_and_count,
    write_lower_precisions,
    write_packed,
)
from onnxpress_export.verify import LOGIT_TOLERANCE, check_fusion, check_parity, depends_on_padding, session_operators

__all__ = ["ExportReport", "Layout", "export"]

Layout = Literal["artifact", "triton", "hub"]

_HALF: Final = 0.5
_LIBRARIES: Final = ("onnxpress", "torch", "transformers", "tokenizers", "onnx", "onnx-ir", "onnxscript")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export did.

    Attributes:
        manifest: As it lies in the artifact.
        session_operators: Operators that ONNX Runtime runs on this CPU, after its own optimizations.
    """

    manifest: Manifest
    session_operators: dict[str, int]


def export(
    checkpoint: str | PathLike[str],
    output: str | PathLike[str],
    *,
    revision: str | None = None,
    task: str | None = None,
    labels: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    problem_type: str | None = None,
    activation: str | None = None,
    max_length: int | None = None,
    force: bool = False,
    allow_unfused: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    layout: Layout = "artifact",
    tolerance: float = LOGIT_TOLERANCE,
    precisions: Sequence[str] = ("fp32",),
    sample: str | PathLike[str] | None = None,
    max_disagreement: float = MAX_DISAGREEMENT,
    int8_for: Int8For = "auto",
    recheck: bool = True,
    first_stage: bool = False,
    first_stage_sample: str | PathLike[str] | None = None,
    calibrate: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
) -> ExportReport:
    """Export a fine-tuned classifier to an artifact that provably gives its answers.

    Args:
        checkpoint: A directory that transformers or PEFT saved, or a Hub id.
        output: The artifact's directory; it appears by rename once every check has passed.
        revision: Branch, tag or commit of a Hub id.
        task: What the checkpoint was trained for, "text-classification" or "token-classification"; None for what the
            architecture that config.json names says.
        labels: Names to use in place of the checkpoint's, in the order of the logits.
        thresholds: The score from which each label is accepted, by name; others keep one half.
        problem_type: What the logits mean: "single_label_classification", "multi_label_classification" or
            "regression"; None for what config.json says, or what transformers' pipeline takes it for.
        activation: What makes scores of them: "softmax", "sigmoid" or "identity"; None for the problem's, or for the
            one that sentence-transformers stored in config.json.
        max_length: Tokens a text may have, special ones included; None for all that the model takes.
        force: Replace an artifact that is at `output`.
        allow_unfused: Accept a graph without the fused attentions that its architecture promises. One that has none
            to promise needs no such leave.
        allow_pickle: Also load weights from pickle files, which can run any code they hold.
        trust_remote_code: Run the code that the checkpoint brings along.
        layout: "triton" also writes a Triton model repository beside the artifact, called `output`-triton; "hub" a
            folder that transformers.js, optimum and other readers open, called `output`-hub.
        tolerance: Largest difference of a logit from torch's, as a share of the largest logit, or of 1 where that
            is smaller.
        precisions: What to write: "fp32"; "int8" for CPUs; "fp16" for CUDA.
        sample: Texts to choose the lower precisions' numbers by, and to measure them on, see
            `onnxpress.examples`; None for some generic ones.
        max_disagreement: Share of answers that a precision may change, of texts that its making never saw.
        int8_for: The CPUs that int8 is for: "vnni", "avx2", "avx512" without VNNI, "arm64", or "auto" for
            this machine's.
        recheck: Whether fp32 may answer again what int8 is not sure of, where that is faster than an int8 that keeps
            the answers alone.
        first_stage: Whether to teach a first stage on the sample, that answers the texts which it is sure of. It shares
            the budget, and is left out, with a note, where it answers too few of them.
        first_stage_sample: More texts to teach it, on which nothing is measured, so that they may be those that the
            model itself was trained on. The seen ones of `sample` teach too; all others find the margin, and measure.
        calibrate: Whether to look for the temperature, by which logits are divided before scores are made of them, that
            brings scores nearest to the share of right answers on the sample's labels. No label changes by it. It is
            left out, with a note, where it brings nothing on texts that it was not found on.
        on_step: Called with the name of each step before it begins.

    Raises:
        CheckpointError: The checkpoint cannot be exported.
        OutputExistsError: `output` is taken.
        CheckFailedError: The graph is not fused, or does not give torch's answers: nothing was written. Or a precision
            changes more answers than it may, or brings nothing: it was left out, and the artifact holds the others.
        ConfigError: A setting is outside its range, or the sample cannot be used.
    """
    target = Path(output)
    check_precisions(precisions, max_disagreement)
    beside = _beside(layout)
    check_output(target, force=force)
    if beside is not None:
        check_output(beside.path(target), force=force, made_here=beside.made_here)
    on_step("loading the checkpoint")
    loaded = load_checkpoint(
        fspath(checkpoint),
        revision=revision,
        task=task,
        labels=labels,
        problem_type=problem_type,
        activation=activation,
        max_length=max_length,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    given = {"thresholds": thresholds is not None, "first_stage": first_stage, "calibrate": calibrate}
    loaded.task.check_settings([name for name, is_given in given.items() if is_given])
    accepted_from = _thresholds(loaded, thresholds)
    lower = set(precisions) != {"fp32"} or sample is not None
    texts = read_sample(None if sample is None else Path(sample), loaded) if lower else None
    if first_stage:
        texts = _with_lesson(texts, sample, first_stage_sample, loaded)
    elif first_stage_sample is not None:
        raise ConfigError("--first-stage-sample teaches a first stage. Pass --first-stage too, or leave it out.")
    if calibrate:
        require_labels(texts, loaded.activation)
    architecture = type(loaded.model).__name__
    loaded, notes = within_length_limit(loaded)
    if (rebuilt := loaded.tokenizer_source.rebuilt) is not None:
        on_step(f"following tokenizer.json: transformers' {rebuilt} gives other token ids")
    on_step("capturing the graph")
    model, promised = capture_classifier(loaded, allow_unfused=allow_unfused)
    on_step("optimizing the graph")
    rewrites = apply_passes(model, loaded.task.passes)
    _sign(model)
    unfused = unfused_attentions(model.graph)
    if unfused:
        notes = (*notes, unfused_note(architecture, unfused, attention_count(operator_counts(model.graph))))
    packs = not depends_on_padding(loaded)
    if not packs:
        notes = (*notes, f"{architecture} answers otherwise beside padding: texts of different lengths are run apart")
    require_fusion = partial(check_fusion, promised=0 if allow_unfused else promised, architecture=architecture)
    with ExitStack() as publish:
        staging = publish.enter_context(staged_directory(target, force=force))
        on_step("comparing tokens with the checkpoint's own")
        write_tokenizer(loaded, staging)
        tokens = check_tokens(loaded, staging, _sample_texts(texts))
        on_step("writing the graphs")
        write_weights(model, staging)
        portable = write_and_count(model.clone(), PORTABLE, rewrites, staging, PORTABLE_GRAPH_NAME)
        masked = model.clone()
        cpu = write_and_count(model, CPU, rewrites, staging, CPU_GRAPH_NAME)
        packed = write_packed(masked, rewrites, staging, PACKED_GRAPH_NAME) if packs else None
        for graph in (portable, cpu, *([packed] if packed else [])):
            require_fusion(graph.operators, where=graph.file)
        on_step("checking what ONNX Runtime runs")
        executed = session_operators(staging / CPU_GRAPH_NAME)
        require_fusion(executed, where="ONNX Runtime's final graph")
        on_step("comparing with torch")
        parity = check_parity(
            loaded,
            staging / PORTABLE_GRAPH_NAME,
            staging / CPU_GRAPH_NAME,
            staging / PACKED_GRAPH_NAME if packed else None,
            tolerance=tolerance,
        )
        fp32_variant = Variant(
            precision="fp32", portable=portable, cpu=cpu, packed=packed, weights=(WEIGHTS_NAME,), parity=parity
        )
        variants, lower_ones, cascade = [fp32_variant], Lower(), None
        scores = Scores()
        if texts is not None:
            on_step("comparing scores with the right labels")
            scores = judge_scores(texts, model, staging, loaded.labels, loaded.activation, calibrate=calibrate)
            notes = (*notes, *scores.notes)
            fp32 = Fp32(
                checkpoint=loaded,
                packs=packs,
                masked=masked,
                cpu=model,
                rewrites=rewrites,
                decision=Decision(loaded.activation, accepted_from, scores.temperature),
                directory=staging,
                sample=texts,
                budget=max_disagreement,
                on_step=on_step,
                recheck=recheck,
                first_stage=first_stage,
            )
            lower_ones = write_lower_precisions(fp32, precisions, int8_for=int8_for)
            for graph in (graph for variant in lower_ones.variants for graph in variant.graphs):
                require_fusion(graph.operators, where=graph.file)
            variants += lower_ones.variants
            cascade = lower_ones.cascade
            if first_stage:
                cascade, left_out = add_first_stage(fp32, lower_ones)
                notes = (*notes, *left_out)
        on_step("writing the manifest")
        if len(variants) > 1 or scores.reliability is not None:
            title = f"{target.name}: {architecture}"
            write_report(
                staging, title, variants, file_records(staging), cascade, scores.reliability, scores.calibration
            )
        manifest = _manifest(
            loaded, accepted_from, tuple(variants), cascade, tokens, scores, staging, target.name, unfused, notes
        )
        write_manifest(manifest, staging)
        if texts is not None and sample is not None:
            on_step("writing the sample's profile")
            taught = cascade is not None and "first" in cascade.stages
            write_baseline(staging, manifest, texts.as_in_the_file(without_taught=taught))
            files = {**manifest.files, PROFILE_NAME: record_of(staging / PROFILE_NAME)}
            manifest = structs.replace(manifest, files=dict(sorted(files.items())))
            write_manifest(manifest, staging)
        if beside is not None:
            on_step(f"writing {beside.words}")
            folder = staged_directory(beside.path(target), force=force, made_here=beside.made_here)
            beside.write(staging, target.name, manifest, publish.enter_context(folder))
    if lower_ones.refused:
        raise lower_ones.refused[0]
    return ExportReport(manifest=manifest, session_operators=executed)


def _beside(layout: str) -> Beside | None:
    if layout not in get_args(Layout):
        raise ConfigError(f"layout must be {' or '.join(get_args(Layout))}, got {layout!r}")
    return LAYOUTS.get(layout)


def _sign(model: ir.Model) -> None:
    """Name the producer, and drop what the tracer noted of its own source files."""
    ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.producer_version = "onnxpress", version("onnxpress")
    model.graph.name = "classifier"


def _sample_texts(sample: Sample | None) -> list[str | tuple[str, str]]:
    if sample is None:
        return []
    return [example.text for example in (*(sample.taught or sample.seen), *sample.held, *sample.unseen)]


def _with_lesson(
    texts: Sample | None,
    sample: str | PathLike[str] | None,
    more: str | PathLike[str] | None,
    checkpoint: Checkpoint,
) -> Sample:
    if texts is None or sample is None:
        raise ConfigError("a first stage is taught on your texts: pass them as --sample, or leave --first-stage out.")
    if checkpoint.activation == "identity":
        raise ConfigError("a regression is never near another answer, so no first stage can be sure. Leave it out.")
    return texts.with_lesson(() if more is None else read_examples(Path(more)))


def _thresholds(checkpoint: Checkpoint, by_label: Mapping[str, float] | None) -> tuple[float, ...] | None:
    if by_label is None:
        return None
    if checkpoint.activation == "identity":
        raise ConfigError("thresholds are for labels, and this model is a regression. Leave them out.")
    if unknown := sorted(by_label.keys() - set(checkpoint.labels)):
        known = ", ".join(checkpoint.labels[:20])
        raise ConfigError(f"a threshold is given for {unknown[0]!r}, which is no label of this model ({known})")
    for label, value in by_label.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"the threshold of {label!r} must be from 0 to 1, got {value!r}")
    stated = tuple(float(by_label.get(label, _HALF)) for label in checkpoint.labels)
    least = sorted(stated)[:2]
    # Scores of softmax sum to 1: two labels reach thresholds of 0.5 each by a tie alone, larger ones never.
    if checkpoint.activation == "softmax" and least[0] > 0 and sum(least) >= 1:
        raise ConfigError(
            f"with these thresholds (the lowest are {' and '.join(f'{value:g}' for value in least)}) this model never "
            "accepts more than one label: its scores are a softmax. Pass --problem-type multi_label_classification if "
            "it was trained so, lower them, or leave them out."
        )
    return stated


def _manifest(
    checkpoint: Checkpoint,
    thresholds: tuple[float, ...] | None,
    variants: tuple[Variant, ...],
    cascade: Cascade | None,
    tokens: Tokens,
    scores: Scores,
    directory: Path,
    output: str,
    unfused: int,
    notes: tuple[str, ...],
) -> Manifest:
    """The manifest of what lies in `directory`."""
    versions = {name: version(name) for name in _LIBRARIES}
    return Manifest(
        schema_version=SCHEMA_VERSION,
        task=checkpoint.task.name,
        labels=checkpoint.labels,
        problem_type=checkpoint.problem_type,
        activation=checkpoint.activation,
        thresholds=thresholds,
        inputs=checkpoint.input_names,
        max_length=checkpoint.max_length,
        truncation_side=checkpoint.truncation_side,
        variants=variants,
        files=file_records(directory),
        cascade=cascade,
        tokens=tokens,
        reliability=scores.reliability,
        calibration=scores.calibration,
        provenance=Provenance(
            source=checkpoint.source,
            architecture=type(checkpoint.model).__name__,
            parameters=checkpoint.model.num_parameters(),
            layers=layer_count(checkpoint.model),
            unfused_attentions=unfused,
            notes=notes,
            command=f"onnxpress export {checkpoint.source} {output}",
            versions={**versions, "onnxruntime": onnxruntime.__version__, "python": platform.python_version()},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )
