"""`onnxpress inspect`: what an artifact holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxpress.answers.fidelity import certainty, told_of_tokens
from onnxpress.artifacts.artifact import Artifact, open_artifact
from onnxpress.artifacts.calibration_record import describe_reliability
from onnxpress.artifacts.cascade_record import describe
from onnxpress.artifacts.manifest import Manifest, Variant, encode_manifest

__all__ = ["inspect"]

_SHOWN_LABELS: Final = 8
_SHOWN_OPERATORS: Final = (
    "MultiHeadAttention",
    "Attention",
    "BiasGelu",
    "Gelu",
    "SkipLayerNormalization",
    "LayerNormalization",
    "MatMul",
    "MatMulIntegerToFloat",
)


def inspect(
    artifact: Annotated[Path, typer.Argument(help="The artifact's directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as it is.")] = False,
) -> None:
    """Show what an artifact holds, after checking every file's hash."""
    opened = open_artifact(artifact)
    for name in opened.manifest.files:
        opened.verified(name)
    if as_json:
        sys.stdout.buffer.write(encode_manifest(opened.manifest))
        return
    console = Console(highlight=False)
    console.print(_facts(opened.manifest))
    for variant in opened.manifest.variants:
        console.print(_graphs(variant))
    console.print(_files(opened))


def _facts(manifest: Manifest) -> Table:
    origin = manifest.provenance
    labels = ", ".join(manifest.labels[:_SHOWN_LABELS])
    if len(manifest.labels) > _SHOWN_LABELS:
        labels += f", … ({len(manifest.labels)} in all)"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (
        (
            "model",
            f"{origin.source}: {origin.architecture}, {origin.layers} layers, {origin.parameters:,} parameters",
        ),
        ("task", manifest.task.replace("-", " ")),
        ("problem", f"{manifest.problem_type.replace('_', ' ')}: {manifest.activation}"),
        ("labels", labels),
        ("inputs", f"{', '.join(manifest.inputs)}; at most {manifest.max_length} tokens"),
        ("tokens", _tokens(manifest)),
        *([] if manifest.cascade is None else [("recheck", describe(manifest.cascade))]),
        *(
            ("scores", describe_reliability(found, manifest.calibration))
            for found in [manifest.reliability]
            if found is not None
        ),
        ("exported", f"{origin.created} by {', '.join(f'{k} {v}' for k, v in origin.versions.items())}"),
    ):
        table.add_row(f"[bold]{name}[/]", escape(value))
    return table


def _tokens(manifest: Manifest) -> str:
    """How the tokenizer was proved."""
    if (tokens := manifest.tokens) is None:
        return "not compared with the checkpoint's"
    own = "tokenizer.json" if tokens.reference == "tokenizer.json" else "vocabulary files, converted"
    other = "" if tokens.rebuilt is None else f"; transformers' {tokens.rebuilt} gives others, and is not followed"
    return f"ids of {tokens.texts:,} texts are those of the checkpoint's own {own}{other}"


def _graphs(variant: Variant) -> Table:
    graphs = variant.graphs
    table = Table(title=escape(f"{variant.precision}: {_proof(variant)}"), title_justify="left")
    table.add_column("", no_wrap=True)
    for graph in graphs:
        table.add_column(graph.file, justify="right", overflow="fold")
    table.add_row("nodes", *(str(sum(graph.operators.values())) for graph in graphs))
    for name in _SHOWN_OPERATORS:
        table.add_row(f"  {name}", *(str(graph.operators.get(name, 0)) for graph in graphs))
    for name in {name: None for graph in graphs for name in graph.weights}:
        table.add_row(f"{name} weights", *(f"{graph.weights.get(name, 0):,}" for graph in graphs))
    table.add_row("sites rewritten", *("" for _ in graphs))
    for name in {name: None for graph in graphs for name in graph.rewrites}:
        table.add_row(f"  {name}", *(str(graph.rewrites.get(name, "-")) for graph in graphs))
    return table


def _proof(variant: Variant) -> str:
    """What was measured of it."""
    if (parity := variant.parity) is not None:
        return (
            f"logits within {parity.max_difference:.1e} of torch (limit {parity.tolerance:g} of their size), "
            f"{parity.equal_labels} of {parity.rows} labels equal; "
            f"tried: {', '.join(f'{batch}×{tokens}' for batch, tokens in dict.fromkeys(parity.cases))} texts × tokens"
        )
    if (fidelity := variant.fidelity) is None:
        return "not measured"
    right = (
        "" if fidelity.accuracy is None else f", right {fidelity.accuracy:.2%} (fp32 {fidelity.reference_accuracy:.2%})"
    )
    if fidelity.error is not None:
        right = f", mean error {fidelity.error:.4g} (fp32 {fidelity.reference_error:.4g})"
    speed = "not timed here" if fidelity.speed is None else f"{fidelity.speed:.2f} × fp32's speed, for {variant.target}"
    return (
        f"{fidelity.changed} of {fidelity.texts:,} unseen texts of {fidelity.sample} changed "
        f"({fidelity.changed / fidelity.texts:.2%}, 95 % interval {fidelity.changed_low:.2%} … "
        f"{fidelity.changed_high:.2%}, budget {fidelity.budget:.2%}; {certainty(fidelity)}){right}"
        f"{told_of_tokens(fidelity)}; "
        f"{speed}{_drift(variant)}"
    )


def _drift(variant: Variant) -> str:
    if (drift := variant.drift) is None:
        return ""
    return f"; {drift.drifted} of {drift.values} values leave their range, by up to {drift.overshoot:.1%} of it"


def _files(artifact: Artifact) -> Table:
    table = Table(title="files, each as it was exported", title_justify="left")
    table.add_column("file")
    table.add_column("bytes", justify="right")
    table.add_column("SHA-256")
    for name, record in artifact.manifest.files.items():
        table.add_row(name, f"{record.bytes:,}", f"{record.sha256[:16]}…")
    return table
