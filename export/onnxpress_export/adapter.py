"""LoRA and other PEFT adapters, merged into the model that they were trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open
from transformers import PreTrainedModel

from onnxpress.errors import CheckpointError
from onnxpress.extras import require
from onnxpress_export.loading_errors import one_line
from onnxpress_export.tasks import TASKS

__all__ = ["Adapter", "merge_adapter", "read_adapter"]

_SETTINGS: Final = "adapter_config.json"
_WEIGHTS: Final = "adapter_model.safetensors"
_PICKLE: Final = "adapter_model.bin"
_PREFIX: Final = "base_model.model."
# The last layer of a head: BERT's classifier, RoBERTa's classifier.out_proj, decoders' score.
_OUTPUT_WEIGHTS: Final = ("classifier.weight", "classifier.out_proj.weight", "score.weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What an adapter's files say.

    Attributes:
        task: What PEFT calls what it was trained for.
        base: The model it was trained on: a directory or a Hub id.
        revision: Of that model on the Hub.
        label_count: Rows of the classification head that was trained with it.
        head: Names of the model's weights that it replaces as a whole.
    """

    task: str
    base: str
    revision: str | None
    label_count: int
    head: frozenset[str]


def read_adapter(source: str) -> Adapter | None:
    """The adapter in the directory `source`; None when there is a whole model, or none at all.

    Raises:
        CheckpointError: It is an adapter that cannot be merged into a classifier.
    """
    path = Path(source)
    if not (path / _SETTINGS).is_file():
        return None
    if not (path / _WEIGHTS).exists() and (path / _PICKLE).exists():
        raise CheckpointError(
            source,
            f"its adapter's weights ({_PICKLE}) are a pickle, which can run code when it is loaded. Save it again with "
            "PEFT, which writes safetensors.",
        )
    with one_line(source, "its adapter cannot be read"):
        settings = json.loads((path / _SETTINGS).read_text(encoding="utf-8"))
        base, task = settings["base_model_name_or_path"], settings.get("task_type")
        with safe_open(path / _WEIGHTS, framework="pt") as weights:
            rows = {name.removeprefix(_PREFIX): weights.get_slice(name).get_shape()[0] for name in weights.keys()}
    if not isinstance(base, str) or not base:
        raise CheckpointError(source, f"{_SETTINGS} names no base model. Set base_model_name_or_path in it.")
    if task not in (known := [one.adapter for one in TASKS]):
        raise CheckpointError(source, f"is an adapter for {task}, not for classification ({' or '.join(known)}).")
    head = {name: count for name, count in rows.items() if "lora_" not in name}
    outputs = [count for name, count in head.items() if name.endswith(_OUTPUT_WEIGHTS)]
    if not outputs:
        raise CheckpointError(
            source,
            "holds no classification head (classifier or score), so it was never trained with it. "
            "Train with modules_to_save=['classifier'].",
        )
    return Adapter(
        task=task, base=base, revision=settings.get("revision"), label_count=outputs[0], head=frozenset(head)
    )


def merge_adapter(source: str, model: PreTrainedModel) -> PreTrainedModel:
    """`model` with the adapter in the directory `source` added into its weights.

    Raises:
        MissingDependencyError: PEFT is not installed.
        CheckpointError: The adapter does not fit the model.
    """
    require(("peft",), extra="lora")
    from peft import PeftModel

    with one_line(source, "its adapter does not fit the model it names"):
        adapted: Any = PeftModel.from_pretrained(model, source)
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged.eval()
