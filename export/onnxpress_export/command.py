"""`onnxpress export`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from onnxpress.cli.progress import show_steps
from onnxpress.errors import ConfigError
from onnxpress.extras import require

if TYPE_CHECKING:
    from onnxpress_export.exporter import ExportReport

__all__ = ["app"]

_MODULES: Final = ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "safetensors", "huggingface_hub")

app = typer.Typer()


class _Layout(str, Enum):
    artifact = "artifact"
    triton = "triton"


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="A directory that transformers saved, or a Hub id.")],
    out: Annotated[str, typer.Argument(help="The artifact's directory, which must not exist.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Label names, separated by commas, in place of the checkpoint's.")
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="JSON file: the score from which each label is accepted, by its name.")
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
        _Layout, typer.Option(help="triton also writes a Triton model repository beside it, called OUT-triton.")
    ] = _Layout.artifact,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest difference of a logit from torch's.")] = 1e-4,
) -> None:
    """Export a fine-tuned classifier to an optimized ONNX artifact that gives the same answers."""
    require(_MODULES, extra="export")
    require(("onnxruntime",), extra="cpu")
    accepted_from = None if thresholds is None else _read_thresholds(thresholds)
    with show_steps("loading torch and transformers") as show:
        from transformers.utils import logging as transformers_logging

        from onnxpress_export.exporter import export as run_export

        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()
        report = run_export(
            checkpoint,
            out,
            revision=revision,
            labels=None if labels is None else [name.strip() for name in labels.split(",")],
            thresholds=accepted_from,
            force=force,
            allow_unfused=allow_unfused,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            layout=layout.value,
            tolerance=tolerance,
            on_step=show,
        )
    for line in _summary(report, out):
        typer.echo(line)


def _read_thresholds(path: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except OSError as error:
        raise ConfigError(f"--thresholds {path}: cannot be read ({error.strerror}).") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--thresholds {path}: must hold a JSON object of numbers by label ({error}).") from error


def _summary(report: ExportReport, out: str) -> list[str]:
    manifest = report.manifest
    (variant,), origin = manifest.variants, manifest.provenance
    parity = variant.parity
    fused = ", ".join(
        f"{report.session_operators.get(name, 0)} {name}"
        for name in ("MultiHeadAttention", "LayerNormalization", "MatMul")
    )
    rewrites = ", ".join(f"{name} {count}" for name, count in variant.cpu.rewrites.items())
    return [
        f"model    {origin.architecture}, {origin.layers} layers, {len(manifest.labels)} labels",
        (
            f"fused    {variant.cpu.operators['MultiHeadAttention']} of {origin.layers} attentions; "
            f"ONNX Runtime runs {sum(report.session_operators.values())} nodes: {fused}, …"
        ),
        f"passes   {rewrites}",
        (
            f"parity   logits within {parity.max_difference:.1e} of torch (limit {parity.tolerance:g}), "
            f"{parity.equal_labels} of {parity.rows} labels equal, up to {manifest.max_length} tokens"
        ),
        f"written  {out}",
    ]
