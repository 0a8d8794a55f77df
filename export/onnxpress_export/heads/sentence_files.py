"""What the files of a sentence-transformers, SetFit or CrossEncoder model say, before any weight is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from onnxpress.errors import CheckpointError
from onnxpress_export.checkpoint_files import find_file, read_object
from onnxpress_export.loading_errors import one_line

__all__ = ["ModuleFiles", "SentenceFiles", "read_sentence_files", "stored_activation"]

_MODULES: Final = "modules.json"
_SETTINGS: Final = "config_sentence_transformers.json"
_SETFIT: Final = "config_setfit.json"
_HEADS: Final = ("model_head.safetensors", "model_head.pkl")
_BODY_SETTINGS: Final = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_BODY: Final = "Transformer"
_WITHOUT_EFFECT: Final = frozenset(("Dropout",))
_SCORES: Final = "scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFiles:
    """A module behind the body.

    Attributes:
        kind: Its class, without its package: "Pooling", "Dense" …
        path: Its folder inside the model's.
        settings: Its config.json.
    """

    kind: str
    path: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceFiles:
    """A body and what follows it.

    Attributes:
        body: The body's folder inside the model's; "" for the model's own.
        modules: What follows the body, in order; nothing that has no effect.
        head: The file of a classifier on top; None where the last module gives the scores.
        normalizes: Whether embeddings are normalized before that head.
        labels: Label names that SetFit stored; None where it stored none.
        multi_label: Whether SetFit's strategy lets a text have several labels.
        max_length: Tokens a text may have; None where the body's tokenizer says it.
        lowercases: Whether texts are lower-cased before the tokenizer.
    """

    body: str
    modules: tuple[ModuleFiles, ...]
    head: Path | None
    normalizes: bool
    labels: tuple[str, ...] | None
    multi_label: bool
    max_length: int | None
    lowercases: bool


def read_sentence_files(source: str, options: Mapping[str, Any]) -> SentenceFiles | None:
    """What the directory or Hub id `source` holds beside a body; None where a transformers model answers alone.

    Raises:
        CheckpointError: It has no head that classifies, or a module that cannot become part of a graph.
    """
    listed = _listed(source, options)
    head = next((found for name in _HEADS if (found := find_file(source, name, options)) is not None), None)
    if listed is None:
        if head is None:
            return None
        raise CheckpointError(source, f"holds {head.name} but no {_MODULES}, so what it stands on is not known.")
    kinds = [(kind, path) for kind, path in listed if kind not in _WITHOUT_EFFECT]
    if kinds[0][0] != _BODY:
        raise CheckpointError(
            source, f"its first module is {kinds[0][0]}, and a graph is made of a transformers model. {_WAY_OUT}"
        )
    body = kinds[0][1]
    settings = _body_settings(source, body, options)
    task = settings.get("transformer_task", "feature-extraction")
    if task == "sequence-classification" and len(kinds) == 1 and head is None:
        _require_no_prompt(source, options)
        return None
    if task != "feature-extraction":
        ranks = " (a language model that says yes or no)" if task == "text-generation" else ""
        raise CheckpointError(source, f"its body is loaded for {task}{ranks}, not for embeddings. {_WAY_OUT}")
    modules = tuple(
        ModuleFiles(kind=kind, path=path, settings=_module(source, path, options)) for kind, path in kinds[1:]
    )
    if head is None and (not modules or _output(modules[-1]) != _SCORES):
        if _is_classifier(source, body, options):
            return None
        raise CheckpointError(
            source,
            "is a sentence-transformers model that gives embeddings: it has no classification head. Train one on it "
            "with SetFit, or fine-tune the body for sequence classification.",
        )
    _require_no_prompt(source, options)
    setfit = read_object(source, _SETFIT, options)
    labels = setfit.get("labels")
    return SentenceFiles(
        body=body,
        modules=modules,
        head=head,
        normalizes=bool(setfit.get("normalize_embeddings")),
        labels=None if not labels else tuple(map(str, labels)),
        multi_label=setfit.get("multi_target_strategy") is not None,
        max_length=_whole(settings.get("max_seq_length")),
        lowercases=bool(settings.get("do_lower_case")),
    )


def stored_activation(source: str, options: Mapping[str, Any]) -> str | None:
    """The activation that CrossEncoder writes beside its modules, from its version 5.4 on; None where there is none."""
    found = read_object(source, _SETTINGS, options).get("activation_fn")
    return found if isinstance(found, str) and found else None


_CLASSIFIERS: Final = ("ForSequenceClassification", "ForTokenClassification")
_WAY_OUT: Final = "Fine-tune a model for sequence classification, or use SetFit on a body with pooling."


def _listed(source: str, options: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """The class and the folder of each module, in order; None where none are listed."""
    path = find_file(source, _MODULES, options)
    if path is None:
        return None
    with one_line(source, f"its {_MODULES} cannot be read"):
        content = json.loads(path.read_text(encoding="utf-8"))
        found = [(str(module["type"]).rsplit(".", 1)[-1], str(module["path"])) for module in content]
    if not found:
        raise CheckpointError(source, f"its {_MODULES} lists no module. Save the model again.")
    return found


def _body_settings(source: str, body: str, options: Mapping[str, Any]) -> dict[str, Any]:
    names = [f"{body}/{name}" if body else name for name in _BODY_SETTINGS]
    return next((found for name in names if (found := read_object(source, name, options))), {})


def _module(source: str, path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return read_object(source, f"{path}/config.json", options) if path else {}


def _output(module: ModuleFiles) -> str:
    name = module.settings.get("module_output_name") or module.settings.get("module_input_name")
    return str(name or "sentence_embedding")


def _is_classifier(source: str, body: str, options: Mapping[str, Any]) -> bool:
    config = read_object(source, f"{body}/config.json" if body else "config.json", options)
    return any(str(name).endswith(_CLASSIFIERS) for name in config.get("architectures") or ())


def _require_no_prompt(source: str, options: Mapping[str, Any]) -> None:
    settings = read_object(source, _SETTINGS, options)
    name = settings.get("default_prompt_name")
    prompts = settings.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, dict) and name is not None else None
    if prompt:
        raise CheckpointError(
            source,
            f"{_SETTINGS} writes the prompt {str(prompt)[:100]!r} before every text, which an artifact does not do. "
            "Set default_prompt_name to null, and write it before your texts yourself.",
        )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
