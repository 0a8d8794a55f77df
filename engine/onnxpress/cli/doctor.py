"""`onnxpress doctor`: what this machine can run, and why not."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxpress.errors import MissingDependencyError
from onnxpress.hardware.cpu import cpu_quota
from onnxpress.hardware.cuda import cuda_problem
from onnxpress.hardware.int8_kernel import Int8Products, int8_products
from onnxpress.hardware.machine import Machine, describe_machine
from onnxpress.sessions.session import import_onnxruntime
from onnxpress.sessions.telemetry import telemetry_setting

__all__ = ["Diagnosis", "diagnose", "doctor"]


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine finds here.

    Attributes:
        machine: CPU and versions.
        host_cpus: CPUs of the host, of which `machine.cpus` may be used.
        int8: The kernel of int8 products, and whether its sums are exact.
        cpu_quota: CPUs that the container's quota allows, None without one.
        providers: ONNX Runtime's, in its order of preference; none where it is not installed.
        problems: Why a device cannot be used, by device.
        telemetry: Whether ONNX Runtime's is off, in words.
    """

    machine: Machine
    int8: Int8Products
    host_cpus: int
    cpu_quota: float | None
    providers: list[str]
    problems: dict[str, str]
    telemetry: str


def diagnose() -> Diagnosis:
    """Look at this machine; starts no session but those of the tiny products that `int8` is told from."""
    problems: dict[str, str] = {}
    providers: list[str] = []
    try:
        providers = import_onnxruntime().get_available_providers()
        if problem := cuda_problem():
            problems["cuda"] = problem
    except MissingDependencyError as error:
        problems = {"cpu": str(error), "cuda": str(error)}
    return Diagnosis(
        machine=describe_machine(),
        int8=int8_products(),
        host_cpus=os.cpu_count() or 1,
        cpu_quota=cpu_quota(),
        providers=providers,
        problems=problems,
        telemetry=telemetry_setting(),
    )


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """Show what this machine can run, and why not."""
    found = diagnose()
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    quota = "no container quota" if found.cpu_quota is None else f"container quota {found.cpu_quota:g}"
    rows = (
        ("cpu device", found.problems.get("cpu", "ready")),
        ("cuda device", found.problems.get("cuda", "ready, to the libraries' word: no session was started")),
        ("processor", f"{found.machine.cpu} ({', '.join(found.machine.simd) or 'no known vector extension'})"),
        ("int8 products", _int8_words(found.int8)),
        ("CPUs", f"{found.machine.cpus} of the host's {found.host_cpus} may be used; {quota}"),
        ("system", f"{found.machine.system}, Python {found.machine.python}"),
        ("providers", ", ".join(found.providers) or "none"),
        ("telemetry", found.telemetry),
        ("packages", ", ".join(f"{name} {version}" for name, version in found.machine.versions.items())),
    )
    for name, value in rows:
        table.add_row(f"[bold]{name}[/]", escape(value))
    Console(highlight=False).print(table)


def _int8_words(found: Int8Products) -> str:
    if found.exact is None:
        return f"{found.kernel}; not tried without onnxruntime"
    if found.exact:
        return f"{found.kernel}; sums are exact, tried. Export for {found.target}"
    instead = "slower ones stand in for an artifact of another target" if found.slower_exact else "so do all others"
    return f"{found.kernel}; sums overflow, tried: {instead}. Export for {found.target}"
