"""A fine-tuned classifier as transformers saved it, checked before any work is done on it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from onnxpress.errors import CheckpointError
from onnxpress.manifest import Activation, ProblemType
from onnxpress_export.adapter import Adapter, merge_adapter, read_adapter
from onnxpress_export.model_inputs import ending_token, example_inputs, vocabulary_size
from onnxpress_export.reference import fresh

__all__ = ["Checkpoint", "load_checkpoint"]

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_CLASSIFIER: Final = "ForSequenceClassification"
_OWN_CLASS: Final = "AutoModelForSequenceClassification"
_TRUST: Final = "brings code of its own. Read it, and pass --trust-remote-code if you trust it."
_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
_ACTIVATIONS: Final[dict[ProblemType, Activation]] = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "identity",
}
_UNLIMITED: Final = 10**9  # transformers writes about 1e30 for a tokenizer without a limit of its own
# Their positions start behind the padding token's id.
_OFFSET_POSITIONS: Final = frozenset(
    {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet", "longformer", "roberta-prelayernorm"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A loaded classifier and what its files say about it.

    Attributes:
        source: The directory's name, or the Hub id with its commit.
        model: In evaluation mode, float32.
        tokenizer: The fast tokenizer.
        input_names: The graph inputs that model and tokenizer agree on.
        labels: Names in the order of the logits.
        problem_type: What the logits mean.
        activation: What makes scores of them.
        max_length: Tokens a text may have.
        truncation_side: The side that longer texts are cut on.
    """

    source: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    input_names: tuple[str, ...]
    labels: tuple[str, ...]
    problem_type: ProblemType
    activation: Activation
    max_length: int
    truncation_side: Literal["left", "right"]


def load_checkpoint(
    source: str,
    *,
    revision: str | None = None,
    labels: Sequence[str] | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Checkpoint:
    """Load the checkpoint in a directory, or of a Hub id.

    Args:
        source: A directory that transformers saved, or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        labels: Names to use in place of the checkpoint's, in the order of the logits.
        allow_pickle: Also load weights from pickle files, which can run any code they hold.
        trust_remote_code: Run the code that the checkpoint brings along.

    Raises:
        CheckpointError: It is missing, not a sequence classifier, unsafe, incomplete, or not finite.
    """
    adapter = read_adapter(source)
    base = source if adapter is None else adapter.base
    _check_directory(base, allow_pickle=allow_pickle)
    revision = revision if adapter is None else adapter.revision
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, **({"revision": revision} if revision else {})}
    config = _load_config(source, base, options)
    if adapter is not None and config.num_labels != adapter.label_count:
        config.num_labels = adapter.label_count  # which also names them anew
    if labels is not None:
        config.id2label, config.label2id = dict(enumerate(labels)), {name: i for i, name in enumerate(labels)}
    names = _labels(source, config, is_adapter=adapter is not None)
    model = _load_model(source, base, config, adapter, {**options, "use_safetensors": None if allow_pickle else True})
    if adapter is not None:
        model = merge_adapter(source, model)
    tokenizer = _load_tokenizer(source if (Path(source) / "tokenizer_config.json").exists() else base, options)
    _check_finite(source, model)
    _check_vocabulary(source, model, tokenizer)
    problem = _problem_type(config, len(names))
    checkpoint = Checkpoint(
        source=_describe(source, revision),
        model=model,
        tokenizer=tokenizer,
        input_names=_input_names(model, tokenizer),
        labels=names,
        problem_type=problem,
        activation=_ACTIVATIONS[problem],
        max_length=_max_length(model, tokenizer),
        truncation_side="left" if tokenizer.truncation_side == "left" else "right",
    )
    _check_head(source, checkpoint)
    return checkpoint


def _check_directory(source: str, *, allow_pickle: bool) -> None:
    path = Path(source)
    if not path.exists():
        if not _HUB_ID.fullmatch(source):
            raise CheckpointError(source, "no such directory.")
        return
    if not path.is_dir():
        raise CheckpointError(source, "is a file. Pass the directory that holds config.json.")
    if not (path / "config.json").is_file():
        raise CheckpointError(source, "is not a transformers checkpoint (no config.json).")
    if allow_pickle or any(path.glob("*.safetensors")):
        return
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in path.glob(pattern))
    if pickles:
        raise CheckpointError(
            source,
            f"its weights ({pickles[0]}) are a pickle, which can run code when it is loaded. "
            "Save it with safetensors, or pass --allow-pickle if you trust it.",
        )
    raise CheckpointError(source, "holds no weights (no *.safetensors).")


def _load_config(source: str, base: str, options: dict[str, Any]) -> Any:
    try:
        return AutoConfig.from_pretrained(base, **options)
    except (OSError, ValueError, HFValidationError) as error:
        _check_trust(source, error)
        what = "its config.json cannot be read" if Path(base).exists() else "no such directory, and no such Hub model"
        raise CheckpointError(source, f"{what} ({base}: {_first_line(error)}).") from error


def _check_trust(source: str, error: BaseException) -> None:
    """Raise the way out when `error` is transformers' refusal to run a checkpoint's own code."""
    if "trust_remote_code" in str(error):
        raise CheckpointError(source, _TRUST) from error


def _labels(source: str, config: Any, *, is_adapter: bool) -> tuple[str, ...]:
    architectures = config.architectures or []
    own = _OWN_CLASS in (getattr(config, "auto_map", None) or {})
    if not is_adapter and not own and not any(name.endswith(_CLASSIFIER) for name in architectures):
        raise CheckpointError(
            source,
            f"is a {architectures[0] if architectures else config.model_type}, not a sequence classifier "
            f"(*{_CLASSIFIER}). Fine-tune it for classification first.",
        )
    if sorted(config.id2label) != list(range(len(config.id2label))):
        raise CheckpointError(source, f"id2label must number its labels from 0, got {sorted(config.id2label)}.")
    return tuple(str(config.id2label[index]) for index in range(len(config.id2label)))


def _load_model(
    source: str, base: str, config: Any, adapter: Adapter | None, options: dict[str, Any]
) -> PreTrainedModel:
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            base,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed: they are refused below
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        _check_trust(source, error)
        raise CheckpointError(source, f"transformers cannot load its weights ({_first_line(error)}).") from error
    replaced = adapter.head if adapter is not None else frozenset()
    for name, held, wanted in sorted(key for key in info["mismatched_keys"] if key[0] not in replaced):
        raise CheckpointError(
            source,
            f"{name} has shape {list(held)}, but config.json with its {config.num_labels} labels asks for "
            f"{list(wanted)}. Correct id2label, or take the config.json that it was trained with.",
        )
    for name in sorted(set(info["missing_keys"]) - replaced):
        if _OWN_CLASS in (getattr(config, "auto_map", None) or {}) and not options["trust_remote_code"]:
            raise CheckpointError(source, _TRUST)
        raise CheckpointError(source, f"has no weights for {name}: the classifier was never trained.")
    loaded: PreTrainedModel = model.eval()
    return loaded


def _load_tokenizer(source: str, options: dict[str, Any]) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise CheckpointError(source, f"transformers cannot load its tokenizer ({_first_line(error)}).") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise CheckpointError(
            source,
            f"{type(tokenizer).__name__} is a slow tokenizer. Save a fast one (tokenizer.json) beside the model.",
        )
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # what transformers makes of missing files
        raise CheckpointError(source, "has no tokenizer. Save it beside the model (tokenizer.save_pretrained).")
    return tokenizer


def _check_finite(source: str, model: PreTrainedModel) -> None:
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            broken = int((~torch.isfinite(weight)).sum())
            raise CheckpointError(
                source,
                f"{name} holds {broken:,} values that are NaN or infinite. Train again from a sound checkpoint.",
            )


def _check_vocabulary(source: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    largest, rows = max(tokenizer.get_vocab().values()), vocabulary_size(model)
    if rows is not None and largest >= rows:
        raise CheckpointError(
            source,
            f"the tokenizer gives ids up to {largest}, but the model embeds only {rows}. "
            "Resize the model's token embeddings, or take the tokenizer that it was trained with.",
        )


def _input_names(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> tuple[str, ...]:
    accepted = inspect.signature(model.forward).parameters
    return tuple(name for name in _INPUTS if name in accepted and name in (*tokenizer.model_input_names, *_INPUTS[:2]))


def _problem_type(config: Any, labels: int) -> ProblemType:
    """As transformers' pipeline reads it: one label without a stated problem is a probability."""
    stated: ProblemType | None = config.problem_type
    if stated is not None:
        return stated
    return "multi_label_classification" if labels == 1 else "single_label_classification"


def _max_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    config = model.config
    stated = int(getattr(config, "max_position_embeddings", None) or _UNLIMITED)
    positions = stated if stated > 0 else _UNLIMITED  # XLNet says -1
    if config.model_type in _OFFSET_POSITIONS:
        embeddings: Any = model.base_model.embeddings
        positions -= int(embeddings.padding_idx) + 1
    return min(positions, int(min(tokenizer.model_max_length, _UNLIMITED)))


def _check_head(source: str, checkpoint: Checkpoint) -> None:
    _check_ending(source, checkpoint)
    inputs = example_inputs(checkpoint.model, batch=2, sequence=min(9, checkpoint.max_length), padding=0)
    try:
        with torch.no_grad():
            logits = fresh(checkpoint.model)(**{name: inputs[name] for name in checkpoint.input_names}).logits
    except Exception as error:  # a model's own code, which may raise anything
        if "padding token" in str(error):  # transformers' own: a decoder without pad_token_id
            raise CheckpointError(source, f"{_first_line(error)} Set it in config.json.") from error
        kind = f"{type(checkpoint.model).__name__} ({checkpoint.model.config.model_type})"
        raise CheckpointError(
            source,
            f"torch itself cannot run {kind} on token ids alone ({_first_line(error)}). "
            "Try it in transformers' pipeline first: what fails there cannot be exported.",
        ) from error
    if tuple(logits.shape) != (2, len(checkpoint.labels)):
        raise CheckpointError(
            source,
            f"the head gives {logits.shape[-1]} logits but config.json names {len(checkpoint.labels)} labels. "
            "Correct id2label.",
        )


def _check_ending(source: str, checkpoint: Checkpoint) -> None:
    """Refuse a tokenizer that does not write the token that the model reads its answer at."""
    end = ending_token(checkpoint.model)
    if end is not None and end not in checkpoint.tokenizer("a")["input_ids"]:
        raise CheckpointError(
            source,
            f"{type(checkpoint.model).__name__} reads its answer at the eos token (id {end}), which the tokenizer "
            "does not write. Save the tokenizer that it was trained with.",
        )


def _describe(source: str, revision: str | None) -> str:
    """A directory's name alone, which says nothing about the machine; a Hub id with the commit that was loaded."""
    if Path(source).exists():
        return Path(source).resolve().name
    cached = try_to_load_from_cache(source, "config.json", revision=revision)
    return f"{source}@{Path(cached).parent.name}" if isinstance(cached, str) else source


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
