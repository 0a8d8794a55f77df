"""A sentence-transformers model, loaded: body, pooling, normalization and head as one `SentenceClassifier`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from tokenizers import Tokenizer, normalizers
from transformers import AutoModel, AutoModelForTextEncoding, PreTrainedModel

from onnxpress.errors import CheckpointError
from onnxpress_export.heads.sentence_files import SentenceFiles
from onnxpress_export.heads.sentence_modules import Normalize, Pooling, make_module
from onnxpress_export.heads.trained_head import TrainedHead, read_head
from onnxpress_export.joined_model import SentenceClassifier
from onnxpress_export.loading_errors import one_line
from onnxpress_export.tokenizer import OwnTokenizer

__all__ = ["SentenceHead", "adjusted_tokenizer", "load_sentence_classifier", "read_sentence_head"]


_ENCODERS_ALONE: Final = frozenset(("t5", "mt5", "umt5"))  # their decoder makes no embeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceHead:
    """What stands on a body.

    Attributes:
        files: Its files.
        trained: The classifier on top; None where the last module gives the scores.
        labels: Label names, in the order of the logits.
        multi_label: Whether each has a probability of its own.
    """

    files: SentenceFiles
    trained: TrainedHead | None
    labels: tuple[str, ...]
    multi_label: bool


def read_sentence_head(source: str, files: SentenceFiles, *, allow_pickle: bool) -> SentenceHead:
    """The head of `files`, and the labels that it gives.

    Raises:
        CheckpointError: It cannot be read, or its labels do not fit it.
    """
    if files.head is None:
        count = int(files.modules[-1].settings["out_features"])
        labels = files.labels or tuple(f"LABEL_{index}" for index in range(count))
        return SentenceHead(files=files, trained=None, labels=labels, multi_label=False)
    trained = read_head(source, files.head, multi_label=files.multi_label, allow_pickle=allow_pickle)
    labels = tuple(_name(source, value, files.labels) for value in trained.classes)
    return SentenceHead(files=files, trained=trained, labels=labels, multi_label=trained.multi_label)


def load_sentence_classifier(
    source: str,
    base: str,
    head: SentenceHead,
    config: Any,
    own: OwnTokenizer,
    options: Mapping[str, Any],
    *,
    allow_pickle: bool,
) -> PreTrainedModel:
    """The whole model, in evaluation mode, float32.

    Args:
        source: The model's directory or Hub id.
        base: The body's.
        head: What stands on the body.
        config: The body's configuration.
        own: Its tokenizer, which pads on one side or the other.
        options: transformers' own.
        allow_pickle: Also load weights from pickle files.

    Raises:
        CheckpointError: Weights are missing, or do not fit each other.
    """
    with one_line(source, "transformers cannot load its weights"):
        kind = AutoModelForTextEncoding if config.model_type in _ENCODERS_ALONE else AutoModel
        body, info = kind.from_pretrained(
            base,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            use_safetensors=None if allow_pickle else True,
            **options,
        )
    for name in sorted(name for name in info["missing_keys"] if not name.startswith("pooler.")):
        raise CheckpointError(source, f"has no weights for {name} of its body. Save the model again.")
    pads_left = own.tokenizer.padding_side == "left"
    modules = [
        make_module(source, files, options, pads_left=pads_left, allow_pickle=allow_pickle)
        for files in head.files.modules
    ]
    if not modules or not isinstance(modules[0], Pooling):
        raise CheckpointError(
            source, "does not pool its tokens behind the body, so there is no embedding to classify. Add Pooling."
        )
    steps = [*modules[1:], *([Normalize()] if head.files.normalizes else []), *_layers(head.trained)]
    return SentenceClassifier(body.eval(), modules[0], steps).eval()


def adjusted_tokenizer(files: SentenceFiles, own: OwnTokenizer) -> OwnTokenizer:
    """`own` as sentence-transformers uses it: with its own limit, and lower-casing first where it is told to."""
    if files.max_length is not None:
        own.tokenizer.model_max_length = files.max_length
    if not files.lowercases:
        return own
    backend = own.tokenizer.backend_tokenizer
    if _lowercases(backend.normalizer):
        return own
    backend.normalizer = _lowered(backend.normalizer)
    reference = Tokenizer.from_str(own.reference)
    reference.normalizer = _lowered(reference.normalizer)
    return replace(own, reference=reference.to_str())


def _layers(trained: TrainedHead | None) -> list[torch.nn.Module]:
    if trained is None:
        return []
    labels, features = trained.weight.shape
    linear = torch.nn.Linear(features, labels)
    linear.load_state_dict({"weight": torch.from_numpy(trained.weight), "bias": torch.from_numpy(trained.bias)})
    return [linear, torch.nn.LogSigmoid()] if trained.one_vs_rest else [linear]


def _name(source: str, value: object, labels: tuple[str, ...] | None) -> str:
    """What a class of the head is called: SetFit's labels number whole numbers."""
    if labels is None or isinstance(value, str):
        return str(value)
    place = int(value) if isinstance(value, (int, float)) and float(value).is_integer() else -1
    if not 0 <= place < len(labels):
        raise CheckpointError(
            source,
            f"its head says {value!r}, and config_setfit.json names {len(labels)} labels. Correct its labels, or pass "
            "--labels.",
        )
    return labels[place]


def _lowercases(normalizer: Any) -> bool:
    if isinstance(normalizer, normalizers.Sequence):
        steps: Any = normalizer
        return any(map(_lowercases, steps))
    return isinstance(normalizer, normalizers.Lowercase) or bool(getattr(normalizer, "lowercase", False))


def _lowered(normalizer: Any) -> Any:
    rest = [] if normalizer is None else [normalizer]
    return normalizers.Sequence([normalizers.Lowercase(), *rest])
