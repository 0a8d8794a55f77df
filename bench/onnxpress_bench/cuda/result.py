"""What one machine's check found, as the file that is written and the table that is read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from onnxpress.errors import ConfigError
from onnxpress.hardware.machine import Machine

__all__ = ["CudaResult", "Outcome", "Speed", "read_result", "table", "write_result"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test: "passed", "failed" or "skipped", and why it did not pass."""

    name: str
    outcome: str
    reason: str


class Speed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One system on one shape.

    Attributes:
        system: Which.
        rows, tokens: The shape; no row has padding.
        milliseconds: Median of a run, inputs in the host's memory before and logits there after; None where it failed.
        equal_labels: Share of rows with the labels of fp32 on the CPU.
        problem: Why it failed; empty where it did not.
    """

    system: str
    rows: int
    tokens: int
    milliseconds: float | None
    equal_labels: float | None
    problem: str


class CudaResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found, of which device, where.

    Attributes:
        device: Its name, as its driver says it; "CPU, a rehearsal" for a run without one.
        driver: The driver's version; empty in a rehearsal.
        created: When, ISO 8601.
        machine: Host and libraries.
        model: What ran.
        tests: The tests marked `cuda`.
        speeds: The benchmark.
    """

    device: str
    driver: str
    created: str
    machine: Machine
    model: str
    tests: tuple[Outcome, ...]
    speeds: tuple[Speed, ...]


def write_result(path: Path, result: CudaResult) -> None:
    """Write `result` as indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def read_result(path: Path) -> CudaResult:
    """Read what `write_result` wrote.

    Raises:
        ConfigError: It is not such a file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=CudaResult)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no result of a check ({error})") from error


def table(result: CudaResult) -> str:
    """The tables of docs/cuda.md: tests, then milliseconds of each system on each shape."""
    versions = result.machine.versions
    libraries = ", ".join(
        f"{name} {versions[name]}" for name in ("onnxruntime-gpu", "onnxruntime", "torch") if name in versions
    )
    driver = f", driver {result.driver}" if result.driver else ""
    lines = [f"{result.device}{driver}; {libraries}; {result.created[:10]}.", "", "| test | outcome |", "|---|---|"]
    lines += [f"| {test.name} | {test.outcome}{f': {test.reason}' if test.reason else ''} |" for test in result.tests]
    shapes = list(dict.fromkeys((speed.rows, speed.tokens) for speed in result.speeds))
    heads = " | ".join(f"{rows} × {tokens}" for rows, tokens in shapes)
    lines += [
        "",
        f"{result.model}; ms a run, rows × tokens:",
        "",
        f"| system | {heads} |",
        f"|---|{'---:|' * len(shapes)}",
    ]
    found = {(speed.system, speed.rows, speed.tokens): speed for speed in result.speeds}
    for system in dict.fromkeys(speed.system for speed in result.speeds):
        cells = [_cell(found.get((system, *shape))) for shape in shapes]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(speed: Speed | None) -> str:
    if speed is None:
        return ""
    if speed.milliseconds is None:
        return speed.problem
    off = "" if speed.equal_labels == 1 else f" ({speed.equal_labels:.1%} labels equal)"
    return f"{speed.milliseconds:.2f}{off}"
