"""Runs under an emulated CPU: logits of texts, and what the engine found of that CPU, as JSON.

    python answer.py < {"artifacts": {name: path}, "texts": [...]}

Needs no more than the engine does.
"""

from __future__ import annotations

import json
import sys

import onnxruntime

import onnxpress
from onnxpress.hardware.int8_kernel import int8_products
from onnxpress.hardware.machine import vector_extensions

asked = json.load(sys.stdin)
found = {}
for name, path in asked["artifacts"].items():
    for precision in ("fp32", "int8"):
        with onnxpress.load(path, precision=precision, device="cpu", threads=1) as classifier:
            mixed = classifier.mixed()
            found[f"{name} {precision}"] = {
                "logits": classifier.logits(asked["texts"]).tolist(),
                "mixed": mixed.run(mixed.encode(asked["texts"])).tolist(),
            }
products = int8_products()
json.dump(
    {
        "extensions": vector_extensions(),
        "kernel": products.kernel,
        "exact": products.exact,
        "onnxruntime": onnxruntime.__version__,
        "answers": found,
    },
    sys.stdout,
)
