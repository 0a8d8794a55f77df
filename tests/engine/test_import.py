"""What importing the engine costs and exposes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import onnxpress
from onnxpress import errors

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers", "rich", "typer")


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_engine_imports_nothing_heavy() -> None:
    assert modules_after("import onnxpress").isdisjoint(HEAVY)


def test_classifying_never_imports_torch_transformers_or_onnx(artifact: Path) -> None:
    loaded = modules_after(f"import onnxpress; onnxpress.load({str(artifact)!r})('good film')")
    assert {"onnxruntime", "tokenizers"} <= loaded
    assert loaded.isdisjoint({"torch", "transformers", "onnx"})


def test_the_command_line_starts_without_torch() -> None:
    assert modules_after("import onnxpress.cli.main").isdisjoint({"torch", "transformers", "onnx", "onnxruntime"})


def test_public_names_exist_and_every_error_is_public() -> None:
    assert all(hasattr(onnxpress, name) for name in onnxpress.__all__)
    assert set(errors.__all__) <= set(onnxpress.__all__)
    kinds = [k for _, k in inspect.getmembers(errors, inspect.isclass) if k.__module__ == errors.__name__]
    assert all(issubclass(kind, onnxpress.OnnxpressError) for kind in kinds)
    assert {kind.__name__ for kind in kinds} == set(errors.__all__)
