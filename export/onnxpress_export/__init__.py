"""The exporter: a fine-tuned transformers classifier to an optimized, verified ONNX artifact.

from onnxpress_export import export

report = export("checkpoint/", "artifact/")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnxpress  # noqa: F401 - before any module here imports ONNX Runtime, whose telemetry it turns off

if TYPE_CHECKING:
    from onnxpress_export.exporter import ExportReport, export

__all__ = ["ExportReport", "export"]


def __getattr__(name: str) -> object:
    # torch and transformers take seconds to import, which the command line must not wait for.
    if name in __all__:
        from onnxpress_export import exporter

        return getattr(exporter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
