"""`python -m onnxpress_bench.cuda`."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from xml.etree import ElementTree

import numpy as np
import typer

from onnxpress.errors import ConfigError, DeviceUnavailableError, OnnxpressError
from onnxpress.hardware.cuda import cuda_problem
from onnxpress.hardware.machine import describe_machine
from onnxpress.sessions.session import Device
from onnxpress_bench.cuda.measure import SHAPES, measure
from onnxpress_bench.cuda.model import ids_of, make_checkpoint, text_of
from onnxpress_bench.cuda.result import CudaResult, Outcome, read_result, table, write_result

_REHEARSAL = "CPU, a rehearsal"
_SAMPLE = 400


def check(
    output: Annotated[Path, typer.Option(help="The file to write.")],
    device: Annotated[str, typer.Option(help="cuda, or cpu for a rehearsal without one.")] = "cuda",
    tests: Annotated[Path | None, typer.Option(help="The folder tests/cuda; none are run without it.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each system on each shape.")] = 100,
    layers: Annotated[int, typer.Option(min=1)] = 6,
    width: Annotated[int, typer.Option(min=32, help="A multiple of 32.")] = 384,
    shapes: Annotated[str, typer.Option(help="Rows and tokens, such as 1x16,32x128.")] = "",
    show: Annotated[bool, typer.Option("--show", help="Print the tables of the file OUTPUT; run nothing.")] = False,
) -> None:
    """Run the tests that need CUDA and a benchmark, and write what they found with the device's name to OUTPUT."""
    try:
        if not show:
            write_result(output, _checked(_device(device), tests, runs, layers, width, _shapes(shapes)))
        typer.echo(table(read_result(output)))
    except (OnnxpressError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def _checked(
    device: Device, tests: Path | None, runs: int, layers: int, width: int, shapes: list[tuple[int, int]]
) -> CudaResult:
    from onnxpress_export import export

    with TemporaryDirectory() as folder:
        work = Path(folder)
        checkpoint = make_checkpoint(work / "checkpoint", layers=layers, width=width)
        sample, generator = work / "sample.txt", np.random.default_rng(5)
        sizes = generator.integers(4, 40, _SAMPLE)
        sample.write_text("".join(text_of(ids_of(generator, 1, size)[0]) + "\n" for size in sizes))
        _say("exporting")
        # the weights are random: what fp16 changes here says nothing about a real model
        export(checkpoint, work / "artifact", precisions=("fp32", "fp16"), sample=sample, max_disagreement=0.05)
        outcomes = [] if tests is None else _tested(tests, device, work / "junit.xml")
        speeds = measure(
            work / "artifact", checkpoint, work, device=device, runs=runs, shapes=shapes or SHAPES, on_step=_say
        )
    name, driver = (_REHEARSAL, "") if device == "cpu" else _gpu()
    return CudaResult(
        device=name,
        driver=driver,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        model=f"BERT, {layers} layers of {width}, seeded weights",
        tests=tuple(outcomes),
        speeds=tuple(speeds),
    )


def _tested(tests: Path, device: Device, report: Path) -> list[Outcome]:
    _say("running the tests marked cuda")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", f"--junitxml={report}", str(tests)]
    environment = {**os.environ, "ONNXPRESS_CUDA_DEVICE": device}
    done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    if not report.exists():
        raise ConfigError(f"--tests {tests}: pytest ended with {done.returncode} and wrote no report")
    outcomes = []
    for case in ElementTree.parse(report).iter("testcase"):
        found = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        kind = "passed" if found is None else "skipped" if found.tag == "skipped" else "failed"
        reason = "" if found is None else " ".join(found.get("message", "").split())[:160]
        outcomes.append(Outcome(name=case.get("name", "?"), outcome=kind, reason=reason))
    return outcomes


def _device(name: str) -> Device:
    if name == "cpu":
        return "cpu"
    if name != "cuda":
        raise ConfigError(f"--device must be cuda or cpu, got {name!r}")
    if (problem := cuda_problem()) is not None:
        raise DeviceUnavailableError("cuda", f"{problem}. Pass --device cpu to rehearse.")
    return "cuda"


def _shapes(text: str) -> list[tuple[int, int]]:
    try:
        found = [
            (int(rows), int(tokens)) for rows, _, tokens in (part.partition("x") for part in text.split(",") if part)
        ]
    except ValueError as error:
        raise ConfigError(f"--shapes must be such as 1x16,32x128, got {text!r}") from error
    if bad := [shape for shape in found if shape[0] < 1 or not 3 <= shape[1] <= 512]:
        raise ConfigError(f"--shapes needs at least 1 row and 3 to 512 tokens, got {bad[0][0]}x{bad[0][1]}")
    return found


def _gpu() -> tuple[str, str]:
    """The device's name and its driver's version, as nvidia-smi tells them."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
    name, _, driver = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().partition(", ")
    return name, driver


def _say(step: str) -> None:
    typer.echo(step, err=True)


if __name__ == "__main__":
    typer.run(check)
