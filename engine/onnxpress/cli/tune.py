"""`onnxpress tune`: the fastest settings on this machine, and graphs laid out for it, kept for `load`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from onnxpress.artifacts.artifact import PRECISIONS, Artifact, open_artifact
from onnxpress.artifacts.manifest import Variant
from onnxpress.cli.progress import show_steps
from onnxpress.examples import read_examples
from onnxpress.generic import generic_examples
from onnxpress.hardware.cpu import available_cpus
from onnxpress.loading import load
from onnxpress.tuned.optimized import save_optimized
from onnxpress.tuned.tuning import Measured, write_tuning
from onnxpress.tuned.tuning import tune as measure

__all__ = ["tune"]


def tune(
    artifact: Annotated[Path, typer.Argument(help="The artifact's directory.")],
    sample: Annotated[
        Path | None, typer.Option(help="Your texts: one a line, or JSONL, CSV or Parquet with a field `text`.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, int8, or auto: each that the artifact has.")] = "auto",
) -> None:
    """Measure how this machine runs the artifact fastest, and save its graphs as ONNX Runtime optimizes them here.

    `onnxpress.load` takes both from then on.
    """
    opened = open_artifact(artifact)
    variants = _variants(opened, precision)
    examples = generic_examples() if sample is None else read_examples(sample)
    texts = [example.text for example in examples]
    console = Console(highlight=False)
    for variant in variants:
        with show_steps("starting") as show:
            tuning = measure(artifact, load, texts, precision=variant.precision, cpus=available_cpus(), on_step=show)
        path = write_tuning(artifact, tuning)
        console.print(_table(f"{tuning.precision}: a single request", tuning.latency))
        console.print(_table(f"{tuning.precision}: a text in bulk", tuning.throughput))
        console.print(f"kept in {path.name}, beside the artifact")
        folder = save_optimized(opened, variant)
        size = sum(file.stat().st_size for file in folder.iterdir())
        console.print(f"optimized graphs saved in {folder.name}, {size / 1e6:,.1f} MB")


def _variants(artifact: Artifact, precision: str) -> list[Variant]:
    """The variant of `precision`; "auto" stands for all that run on a CPU, so that `load` knows the fastest."""
    if precision != "auto":
        return [artifact.variant(precision, "cpu")]
    return [variant for variant in artifact.manifest.variants if variant.precision in PRECISIONS["cpu"]]


def _table(title: str, settings: tuple[Measured, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("batches at once", "threads each", "tokens a batch", "ms"):
        table.add_column(name, justify="right")
    for found in settings:
        table.add_row(str(found.workers), str(found.threads), str(found.max_tokens), f"{found.milliseconds:.3f}")
    return table
