"""A key for what holds on one machine alone: settings measured on it, weights laid out for its CPU."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from onnxpress.artifacts.manifest import MANIFEST_NAME
from onnxpress.hardware.cpu_name import cpu_identity
from onnxpress.hardware.machine import vector_extensions
from onnxpress.sessions.session import import_onnxruntime

__all__ = ["local_key"]


def local_key(artifact: Path, *further: str) -> str:
    """Hash of the artifact in the directory `artifact`, this CPU, ONNX Runtime's version, and `further` facts."""
    facts = [
        sha256((artifact / MANIFEST_NAME).read_bytes()).hexdigest(),
        *cpu_identity(),
        *vector_extensions(),
        str(import_onnxruntime().__version__),
        *further,
    ]
    return sha256("\n".join(facts).encode()).hexdigest()
