"""The portable graphs as a folder of the Hugging Face Hub, which other runtimes read as it is.

transformers.js, optimum, sentence-transformers, text-embeddings-inference and hugot look for `onnx/model.onnx` beside
`config.json` and the tokenizer's files; transformers.js also for what it calls `q8` and `fp16`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import onnx_ir as ir

from onnxpress.artifacts.artifact import record_of
from onnxpress.artifacts.cascade_record import FIRST_STAGE_NAME
from onnxpress.artifacts.manifest import MANIFEST_NAME, Manifest, Variant
from onnxpress_export.fidelity_report import REPORT_NAME
from onnxpress_export.meaning import store_activation
from onnxpress_export.model_card import HubGraph, write_card

__all__ = ["FILES_NAME", "INSIDE_BELOW", "write_hub"]

FILES_NAME: Final = "onnx/onnxpress_files.json"
"""Size and SHA-256 of every other file; also by which such a folder is known again."""

INSIDE_BELOW: Final = 2_000_000_000
"""Bytes of weights that still fit into the graph's own file: protobuf holds up to 2 GiB, and the graph has some too."""

# What text-embeddings-inference and hugot read of config.json, and what some architectures call it.
_READ: Final = {
    "hidden_size": ("dim", "n_embd", "d_model"),
    "num_hidden_layers": ("n_layers", "n_layer", "num_layers"),
    "max_position_embeddings": ("n_positions",),
}
_WHAT_FOR: Final = re.compile(r"(?:For\w+|(?:LMHead)?Model)$")  # the end of an architecture's name
_NAMES: Final = {"fp32": "model", "fp16": "model_fp16", "int8": "model_quantized"}  # as transformers.js asks for them


def write_hub(artifact: Path, name: str, manifest: Manifest, folder: Path, *, inside_below: int = INSIDE_BELOW) -> None:
    """Write the artifact whose files lie in `artifact`, called `name`, into the directory `folder`.

    Args:
        artifact: Where its files are.
        name: What the model card calls it.
        manifest: Of the artifact.
        folder: An empty directory.
        inside_below: Bytes of weights from which on they lie in a file beside their graph.
    """
    (folder / "onnx").mkdir()
    graphs = [_write_graph(artifact, variant, folder / "onnx", inside_below) for variant in manifest.variants]
    for copied in sorted(manifest.files.keys() - _of_the_engine(manifest)):
        (folder / copied).write_bytes((artifact / copied).read_bytes())
    _change(folder / "config.json", lambda config: _configure(config, manifest, graphs))
    _change(folder / "tokenizer_config.json", lambda settings: settings.update(_limits(manifest)))
    # text-embeddings-inference cuts texts by it; sentence-transformers reads it only beside a modules.json.
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": manifest.max_length, "do_lower_case": False}) + "\n", encoding="utf-8"
    )
    write_card(folder, name, manifest, graphs)
    records = {
        path.relative_to(folder).as_posix(): record_of(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    listed = {name: {"sha256": record.sha256, "bytes": record.bytes} for name, record in records.items()}
    (folder / FILES_NAME).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def _of_the_engine(manifest: Manifest) -> set[str]:
    """The artifact's files that no other runtime reads, or that lie elsewhere here."""
    graphs = {name for v in manifest.variants for name in (*(graph.file for graph in v.graphs), *v.weights)}
    return graphs | {MANIFEST_NAME, REPORT_NAME, FIRST_STAGE_NAME}


def _write_graph(artifact: Path, variant: Variant, folder: Path, inside_below: int) -> HubGraph:
    model = ir.load(artifact / variant.portable.file)
    name = _NAMES[variant.precision]
    weights = sum(
        value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None
    )
    inside = weights < inside_below
    if inside:
        ir.external_data.load_to_model(model)
        ir.save(model, folder / f"{name}.onnx")
    else:
        ir.save(model, folder / f"{name}.onnx", external_data=f"{name}.onnx_data")
    operators: dict[str, set[str]] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        operators.setdefault(node.domain, set()).add(node.op_type)
    return HubGraph(
        file=f"{name}.onnx",
        variant=variant,
        size=sum(path.stat().st_size for path in folder.glob(f"{name}.onnx*")),
        weights_inside=inside,
        opset=model.opset_imports[""],
        foreign={domain: tuple(sorted(names)) for domain, names in sorted(operators.items()) if domain},
    )


def _configure(config: dict[str, Any], manifest: Manifest, graphs: list[HubGraph]) -> None:
    """What readers make scores by, and where transformers.js finds weights that lie beside their graph."""
    config["architectures"] = [_architecture(config, manifest)]
    config["id2label"] = {str(index): label for index, label in enumerate(manifest.labels)}
    config["label2id"] = {label: index for index, label in enumerate(manifest.labels)}
    if manifest.task == "text-classification":
        config["problem_type"] = manifest.problem_type
        store_activation(config, manifest.activation, len(manifest.labels))
    for name, others in _READ.items():
        found = next((config[other] for other in (name, *others) if isinstance(config.get(other), int)), None)
        if found is not None:
            config.setdefault(name, found)
    config.setdefault("max_position_embeddings", manifest.max_length)
    beside = {graph.file: True for graph in graphs if not graph.weights_inside}
    if beside:
        config["transformers.js_config"] = {"use_external_data_format": beside}


def _architecture(config: dict[str, Any], manifest: Manifest) -> str:
    """A classifier's name, by which text-embeddings-inference knows one; an adapter's base or a body has none."""
    own = manifest.provenance.architecture
    if own.endswith("Classification"):
        return own
    body = next(iter(config.get("architectures") or ()), "")
    kind = "TokenClassification" if manifest.task == "token-classification" else "SequenceClassification"
    return f"{_WHAT_FOR.sub('', body) or 'Auto'}For{kind}"


def _limits(manifest: Manifest) -> dict[str, object]:
    return {"model_max_length": manifest.max_length, "truncation_side": manifest.truncation_side}


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON object in the file at `path`."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
