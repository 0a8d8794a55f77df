"""`onnxpress export`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from onnxpress.cli.progress import show_steps
from onnxpress.errors import ConfigError
from onnxpress.extras import require
from onnxpress_export.checkpoint_files import check_at_once

if TYPE_CHECKING:
    from onnxpress.artifacts.manifest import Manifest
    from onnxpress_export.exporter import ExportReport

__all__ = ["app"]

_MODULES: Final = ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "safetensors", "huggingface_hub")

app = typer.Typer()


class _Layout(StrEnum):
    artifact = "artifact"
    triton = "triton"
    hub = "hub"


class _Target(StrEnum):
    auto = "auto"
    avx2 = "avx2"
    avx512 = "avx512"
    vnni = "vnni"
    arm64 = "arm64"


class _Task(StrEnum):
    text_classification = "text-classification"
    token_classification = "token-classification"


class _Problem(StrEnum):
    single_label_classification = "single_label_classification"
    multi_label_classification = "multi_label_classification"
    regression = "regression"


class _Activation(StrEnum):
    softmax = "softmax"
    sigmoid = "sigmoid"
    identity = "identity"


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="A directory that transformers saved, or a Hub id.")],
    out: Annotated[str, typer.Argument(help="The artifact's directory, which must not exist.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
    task: Annotated[
        _Task | None, typer.Option(help="What it was trained for, in place of what config.json's architecture says.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Label names, separated by commas, in place of the checkpoint's.")
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="JSON file: the score from which each label is accepted, by its name.")
    ] = None,
    problem_type: Annotated[
        _Problem | None, typer.Option(help="What the logits mean, in place of what config.json says.")
    ] = None,
    activation: Annotated[
        _Activation | None,
        typer.Option(help="What makes scores of the logits, in place of the problem's or a stored one."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens a text may have, special ones included, at most what the model takes.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the artifact at OUT.")] = False,
    allow_unfused: Annotated[
        bool, typer.Option("--allow-unfused", help="Accept attentions that are not fused.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Load weights from pickle files, which can run code.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the code that the checkpoint brings along.")
    ] = False,
    layout: Annotated[
        _Layout,
        typer.Option(
            help="triton also writes a Triton model repository beside it, OUT-triton; hub a folder that "
            "transformers.js, optimum and other readers open, OUT-hub."
        ),
    ] = _Layout.artifact,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference from torch, as a share of the largest logit.")
    ] = 1e-4,
    precision: Annotated[str, typer.Option(help="What to write, separated by commas: fp32, fp16, int8.")] = "fp32",
    sample: Annotated[
        Path | None,
        typer.Option(help="Your texts, to choose by and to measure on: text, JSONL, CSV or Parquet."),
    ] = None,
    max_disagreement: Annotated[
        float, typer.Option(help="Share of answers that fp16 and int8 may change, of texts that its making never saw.")
    ] = 0.005,
    target: Annotated[_Target, typer.Option(help="The CPUs that int8 is for; auto for this machine's.")] = _Target.auto,
    first_stage: Annotated[
        bool,
        typer.Option("--first-stage", help="Teach a small first stage on --sample, that answers the easy texts."),
    ] = False,
    first_stage_sample: Annotated[
        Path | None,
        typer.Option(help="More texts to teach it, such as those that the model was trained on. Labels are ignored."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Scale scores by one temperature, found on the sample's labels; no label changes."
        ),
    ] = False,
    no_recheck: Annotated[
        bool, typer.Option("--no-recheck", help="int8 answers all texts itself, also those that it is not sure of.")
    ] = False,
) -> None:
    """Export a fine-tuned classifier to an optimized ONNX artifact that gives the same answers."""
    require(_MODULES, extra="export")
    require(("onnxruntime",), extra="cpu")
    accepted_from = None if thresholds is None else _read_thresholds(thresholds)
    check_at_once(checkpoint, allow_pickle=allow_pickle)  # before torch is loaded, which takes seconds
    with _stopped_by_signals(), show_steps("loading torch and transformers") as show:
        from transformers.utils import logging as transformers_logging

        from onnxpress_export.exporter import export as run_export

        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()
        report = run_export(
            checkpoint,
            out,
            revision=revision,
            task=None if task is None else task.value,
            labels=None if labels is None else [name.strip() for name in labels.split(",")],
            thresholds=accepted_from,
            problem_type=None if problem_type is None else problem_type.value,
            activation=None if activation is None else activation.value,
            max_length=max_length,
            force=force,
            allow_unfused=allow_unfused,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            layout=layout.value,
            tolerance=tolerance,
            precisions=[name.strip() for name in precision.split(",")],
            sample=sample,
            max_disagreement=max_disagreement,
            int8_for=target.value,
            recheck=not no_recheck,
            first_stage=first_stage,
            first_stage_sample=first_stage_sample,
            calibrate=calibrate,
            on_step=show,
        )
    for line in _summary(report, out):
        typer.echo(line)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as an exit does, so that what is half written is removed."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read_thresholds(path: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except OSError as error:
        raise ConfigError(f"--thresholds {path}: cannot be read ({error.strerror}).") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--thresholds {path}: must hold a JSON object of numbers by label ({error}).") from error


def _summary(report: ExportReport, out: str) -> list[str]:
    from onnxpress.artifacts.calibration_record import describe_reliability
    from onnxpress.artifacts.cascade_record import describe
    from onnxpress_export.graph_census import attention_count  # needs the extra

    manifest = report.manifest
    variant, origin = manifest.variants[0], manifest.provenance
    executed = report.session_operators
    fused = attention_count(variant.cpu.operators)
    others = ", ".join(f"{executed.get(name, 0)} {name}" for name in ("LayerNormalization", "MatMul"))
    rewrites = ", ".join(f"{name} {count}" for name, count in variant.cpu.rewrites.items())
    return [
        f"model    {origin.architecture}, {origin.layers} layers, {len(manifest.labels)} labels",
        (
            f"fused    {fused} of {fused + origin.unfused_attentions} attentions; ONNX Runtime runs "
            f"{sum(executed.values())} nodes: {attention_count(executed)} attentions, {others}, …"
        ),
        f"passes   {rewrites}",
        *(
            f"parity   logits within {parity.max_difference:.1e} of torch (limit {parity.tolerance:g} of their size), "
            f"{parity.equal_labels} of {parity.rows} labels equal, proven up to {parity.longest} of "
            f"{manifest.max_length} tokens"
            for parity in [variant.parity]
            if parity is not None
        ),
        *_token_lines(manifest),
        *_fidelity_lines(manifest),
        *([] if manifest.cascade is None else [f"recheck  {describe(manifest.cascade)}"]),
        *([] if manifest.cascade is None else _lesson_lines(manifest.cascade.taught)),
        *(
            f"scores   {describe_reliability(found, manifest.calibration)}"
            for found in [manifest.reliability]
            if found is not None
        ),
        *(f"warning  {note}." for note in origin.notes),
        f"written  {out}",
    ]


def _lesson_lines(taught: int) -> list[str]:
    from onnxpress_export.precision.sample import HELPING  # needs the extra

    if not 0 < taught < HELPING:
        return []
    more = f"{HELPING:,} texts help it to answer more: --first-stage-sample takes some on which nothing is measured"
    return [f"first    the first stage was taught on {taught:,} texts; {more}"]


def _token_lines(manifest: Manifest) -> list[str]:
    if (tokens := manifest.tokens) is None:
        return []
    own = "tokenizer.json" if tokens.reference == "tokenizer.json" else "converted tokenizer"
    followed = "" if tokens.rebuilt is None else f", which transformers' {tokens.rebuilt} does not give"
    return [f"tokens   ids of {tokens.texts:,} texts are those of the checkpoint's own {own}{followed}"]


def _fidelity_lines(manifest: Manifest) -> list[str]:
    from onnxpress.answers.fidelity import certainty, told_of_tokens  # needs numpy, which --help need not wait for

    return [
        f"{variant.precision}     {found.changed} of {found.texts:,} unseen answers changed "
        f"({found.changed / found.texts:.2%}; 95 % interval {found.changed_low:.2%} … {found.changed_high:.2%}; "
        f"budget {found.budget:.2%}; {certainty(found)}{told_of_tokens(found)}), "
        + ("not timed here" if found.speed is None else f"{found.speed:.2f} × fp32's speed, for {variant.target}")
        for variant in manifest.variants
        if (found := variant.fidelity) is not None
    ]
