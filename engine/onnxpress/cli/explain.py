"""`onnxpress explain`: the words of texts, and their shares of the answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, cast

import msgspec
import typer

from onnxpress.explaining.explanation import Method
from onnxpress.explaining.page import page
from onnxpress.loading import load

__all__ = ["explain"]


def explain(
    artifact: Annotated[str, typer.Argument(help="The artifact's directory.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What to explain.")],
    label: Annotated[str | None, typer.Option(help="Explain this label's score; each text's best one without.")] = None,
    method: Annotated[
        str, typer.Option(help="occlusion, or shap, whose shares add up (needs the extra explain).")
    ] = "occlusion",
    evaluations: Annotated[int, typer.Option(help="Masked variants of a text that shap may look at.")] = 500,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the words tinted too.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or auto.")] = "auto",
) -> None:
    """Tell which words speak for an answer, and which against it; prints one JSON object a text, in order."""
    with load(artifact, device=device, precision=precision, optimize_for="throughput", first_stage=False) as classifier:
        found = classifier.explain(texts, label=label, method=cast("Method", method), evaluations=evaluations)
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
    for explanation in found:
        sys.stdout.buffer.write(msgspec.json.encode(explanation) + b"\n")
    sys.stdout.buffer.flush()
