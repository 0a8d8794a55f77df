"""The exporter: a fine-tuned transformers classifier to an optimized, verified ONNX artifact."""

from onnxpress_export.export import ExportReport, export

__all__ = ["ExportReport", "export"]
