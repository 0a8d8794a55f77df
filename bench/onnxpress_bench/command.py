"""`onnxpress bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from onnxpress.cli.progress import show_steps
from onnxpress.errors import CheckFailedError
from onnxpress.extras import require
from onnxpress_bench.report import render
from onnxpress_bench.result import BenchResult, encode_result
from onnxpress_bench.runner import run_benchmark
from onnxpress_bench.sample import SampleSizes

__all__ = ["app"]

_TABLE_WIDTH: Final = 140

app = typer.Typer()
_bench = typer.Typer(no_args_is_help=True, help="Measure the engine, side by side with other systems.")
app.add_typer(_bench, name="bench")


@_bench.callback()
def _group() -> None: ...


@_bench.command()
def run(
    artifact: Annotated[Path, typer.Argument(help="The artifact's directory.")],
    texts: Annotated[Path, typer.Option(help="Texts: one a line, or a .jsonl file with a field `text`.")],
    against: Annotated[str | None, typer.Option(help="The checkpoint, to measure transformers' pipeline on.")] = None,
    precision: Annotated[str, typer.Option(help="The artifact's variant: fp32, int8 or auto.")] = "fp32",
    rounds: Annotated[int, typer.Option(help="Turns of each system.")] = 5,
    requests: Annotated[int, typer.Option(help="Single requests a turn.")] = 200,
    cold_starts: Annotated[int, typer.Option(help="Fresh processes a system.")] = 3,
    output: Annotated[Path | None, typer.Option(help="Also write everything measured to this JSON file.")] = None,
) -> None:
    """Measure latency, throughput, cold start and memory; each system in a process of its own, in turns.

    Exits with 1 when the engine's labels are not those of the checkpoint: all of them, or for a lower precision all
    but the share that its export allowed.
    """
    require(("onnxruntime",), extra="cpu")
    if against:
        require(("torch", "transformers"), extra="bench")
    with show_steps("starting") as show:
        result = run_benchmark(
            artifact,
            texts,
            against=against,
            precision=precision,
            sizes=SampleSizes(rounds=rounds, requests=requests, cold_starts=cold_starts),
            on_step=show,
        )
    if output is not None:
        output.write_bytes(encode_result(result))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    console.print(render(result))
    _refuse_wrong_answers(result)


def _refuse_wrong_answers(result: BenchResult) -> None:
    """A fast wrong answer is no result."""
    for system in result.systems:
        agreement = system.agreement
        if agreement.texts - agreement.equal_labels > system.spec.may_change * agreement.texts:
            raise CheckFailedError(
                f"{system.spec.name} gives {agreement.texts - agreement.equal_labels} of {agreement.texts:,} texts "
                f"another label than {agreement.reference}; {system.spec.may_change:.2%} may differ. "
                "Export the artifact from that checkpoint again."
            )
