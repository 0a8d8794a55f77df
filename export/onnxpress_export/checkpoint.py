"""A fine-tuned classifier as transformers saved it, checked before any work is done on it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

from onnxpress.artifacts.manifest import Activation, ProblemType
from onnxpress.errors import CheckpointError
from onnxpress_export.adapter import Adapter, merge_adapter, read_adapter
from onnxpress_export.checkpoint_files import body_folder, check_files, check_quantization, check_unused
from onnxpress_export.heads.sentence_classifier import (
    SentenceHead,
    adjusted_tokenizer,
    load_sentence_classifier,
    read_sentence_head,
)
from onnxpress_export.heads.sentence_files import read_sentence_files, stored_activation
from onnxpress_export.loading_errors import TRUST, one_line
from onnxpress_export.model_inputs import ending_token, vocabulary_size
from onnxpress_export.positions import Trial, try_model
from onnxpress_export.positions import max_length as read_max_length
from onnxpress_export.tasks import ExportTask, chosen_task, stated_task
from onnxpress_export.tasks.text_classification import TEXT_CLASSIFICATION
from onnxpress_export.tokenizer import OwnTokenizer, load_tokenizer

__all__ = ["Checkpoint", "load_checkpoint"]

_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A loaded classifier and what its files say about it.

    Attributes:
        source: The directory's name, or the Hub id with its commit.
        model: In evaluation mode, float32.
        task: What an answer is.
        tokenizer: The fast tokenizer.
        tokenizer_source: Where it came from, and what it is proved against.
        input_names: The graph inputs that model and tokenizer agree on.
        labels: Names in the order of the logits.
        problem_type: What the logits mean.
        activation: What makes scores of them.
        max_length: Tokens a text may have.
        truncation_side: The side that longer texts are cut on.
    """

    source: str
    model: PreTrainedModel
    task: ExportTask
    tokenizer: PreTrainedTokenizerFast
    tokenizer_source: OwnTokenizer
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
    task: str | None = None,
    labels: Sequence[str] | None = None,
    problem_type: str | None = None,
    activation: str | None = None,
    max_length: int | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Checkpoint:
    """Load the checkpoint in a directory, or of a Hub id.

    Args:
        source: A directory that transformers saved, or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        task: The name of what it was trained for, in place of what config.json says.
        labels: Names to use in place of the checkpoint's, in the order of the logits.
        problem_type: What the logits mean, in place of what config.json says.
        activation: What makes scores of them, in place of what the problem or sentence-transformers says.
        max_length: Tokens a text may have, at most what the model takes; None for that.
        allow_pickle: Also load weights from pickle files, which can run any code they hold.
        trust_remote_code: Run the code that the checkpoint brings along.

    Raises:
        CheckpointError: It is missing, of another task, unsafe, incomplete, or not finite.
        ConfigError: A task, problem type, activation or length is none that it can have.
        MissingDependencyError: It is an adapter, and PEFT is not installed.
    """
    adapter = read_adapter(source)
    base = body_folder(source) if adapter is None else adapter.base
    check_files(source, base, allow_pickle=allow_pickle)
    revision = revision if adapter is None else adapter.revision
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, **({"revision": revision} if revision else {})}
    files = None if adapter is not None else read_sentence_files(source, options)
    head = None if files is None else read_sentence_head(source, files, allow_pickle=allow_pickle)
    config = _load_config(source, base, options)
    if head is not None:
        labels = _labels_of_head(source, head, labels)
        config.problem_type = "multi_label_classification" if head.multi_label else None
    if adapter is not None and config.num_labels != adapter.label_count:
        config.num_labels = adapter.label_count  # which also names them anew
    if labels is not None:
        config.id2label, config.label2id = dict(enumerate(labels)), {name: i for i, name in enumerate(labels)}
    if (stored := stored_activation(source, options)) is not None:
        config.sentence_transformers = {"activation_fn": stored}  # which goes before what it wrote into config.json
    stated = TEXT_CLASSIFICATION.adapter if head is not None else None if adapter is None else adapter.task
    kind = chosen_task(source, config, stated, task)
    names = _labels(source, config)
    meaning = kind.meaning(source, config, len(names), problem_type, activation)
    config.problem_type = meaning.problem_type if problem_type is not None else config.problem_type
    own = load_tokenizer(_tokenizer_source(source, base), options)
    if head is not None:
        own = adjusted_tokenizer(head.files, own)
        model = load_sentence_classifier(source, base, head, config, own, options, allow_pickle=allow_pickle)
    else:
        options_of_weights = {**options, "use_safetensors": None if allow_pickle else True}
        model = _load_model(source, base, config, adapter, kind, options_of_weights, asked=task is not None)
    if adapter is not None:
        model = merge_adapter(source, model)
    _check_finite(source, model)
    _check_vocabulary(source, model, own.tokenizer)
    _check_ending(source, model, own.tokenizer)
    trial = try_model(source, model, own.tokenizer)
    _check_head(source, trial, names, kind)
    return Checkpoint(
        source=_describe(source, revision),
        model=model,
        task=kind,
        tokenizer=own.tokenizer,
        tokenizer_source=own,
        input_names=_input_names(model, own.tokenizer),
        labels=names,
        problem_type=meaning.problem_type,
        activation=meaning.activation,
        max_length=read_max_length(source, model.config, own.tokenizer, trial.positions, max_length),
        truncation_side="left" if own.tokenizer.truncation_side == "left" else "right",
    )


def _load_config(source: str, base: str, options: dict[str, Any]) -> Any:
    local = Path(base).exists()
    what = "its config.json cannot be read" if local else f"no such directory, and no such Hub model ({base})"
    with one_line(source, what):
        config = AutoConfig.from_pretrained(base, **options)
        check_quantization(source, base, config.to_dict())
        return config


def _labels_of_head(source: str, head: SentenceHead, asked: Sequence[str] | None) -> Sequence[str]:
    if asked is not None and len(asked) != len(head.labels):
        raise CheckpointError(source, f"its head gives {len(head.labels)} logits, and {len(asked)} labels are named.")
    return head.labels if asked is None else asked


def _tokenizer_source(source: str, base: str) -> str:
    """An adapter's directory holds the tokenizer where its training changed it."""
    own = any((Path(source) / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    return source if own else base


def _labels(source: str, config: Any) -> tuple[str, ...]:
    if not config.id2label or sorted(config.id2label) != list(range(len(config.id2label))):
        raise CheckpointError(source, f"id2label must number its labels from 0, got {list(config.id2label)[:20]}.")
    return tuple(str(config.id2label[index]) for index in range(len(config.id2label)))


def _load_model(
    source: str,
    base: str,
    config: Any,
    adapter: Adapter | None,
    task: ExportTask,
    options: dict[str, Any],
    *,
    asked: bool,
) -> PreTrainedModel:
    with one_line(source, "transformers cannot load its weights"):
        model, info = task.model_class.from_pretrained(
            base,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed: they are refused below
            **options,
        )
    check_unused(source, base, info["unexpected_keys"])
    _check_task(source, config, adapter, task, info["unexpected_keys"])
    if adapter is None and not asked:
        _check_class(source, config, model, task, info["unexpected_keys"])
    replaced = adapter.head if adapter is not None else frozenset()
    for name, held, wanted in sorted(key for key in info["mismatched_keys"] if key[0] not in replaced):
        raise CheckpointError(
            source,
            f"{name} has shape {list(held)}, but config.json with its {config.num_labels} labels asks for "
            f"{list(wanted)}. Correct id2label, or take the config.json that it was trained with.",
        )
    for name in sorted(set(info["missing_keys"]) - replaced):
        if task.model_class.__name__ in (getattr(config, "auto_map", None) or {}) and not options["trust_remote_code"]:
            raise CheckpointError(source, TRUST)
        raise CheckpointError(source, f"has no weights for {name}: the classifier was never trained.")
    loaded: PreTrainedModel = model.eval()
    return loaded


def _check_task(source: str, config: Any, adapter: Adapter | None, task: ExportTask, unused: Iterable[str]) -> None:
    """Refuse a task that was asked for against the checkpoint's own word where its weights tell of another head.

    Heads of two tasks may have weights of the same names and shapes (BERT's classifier), so that nothing is missing.
    """
    stated = stated_task(config, None if adapter is None else adapter.task)
    name = next(iter(sorted(unused)), None)
    if name is None or stated is None or stated is task:
        return
    raise CheckpointError(
        source,
        f"is a {stated.kind}, and holds {name}, of which a {task.kind} makes no use: it was not trained as one. "
        f"Leave --task out, or pass --task {stated.name}.",
    )


def _check_class(source: str, config: Any, model: PreTrainedModel, task: ExportTask, unused: Iterable[str]) -> None:
    """Refuse a class that transformers does not know where its head has more than the one that it loads instead.

    Another head, as a conditional random field behind the logits, answers otherwise.
    """
    names, known = config.architectures or [], type(model).__name__
    head = [name for name in sorted(unused) if not name.startswith(f"{model.base_model_prefix}.")]
    if (
        not names
        or known in names
        or not head
        or task.model_class.__name__ in (getattr(config, "auto_map", None) or {})
    ):
        return
    raise CheckpointError(
        source,
        f"is a {names[0]}, which transformers does not know; its {known} makes no use of {head[0]}, and would answer "
        f"otherwise. If that is what you want, pass --task {task.name}.",
    )


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
    """Of `_INPUTS`, what the model takes and the tokenizer gives.

    Without the types of tokens where the model knows one alone (RoBERTa): it takes that where it is given none, and has
    no row for the second text of a pair.
    """
    accepted = inspect.signature(model.forward).parameters
    given = {*tokenizer.model_input_names, *_INPUTS[:2]}
    types = getattr(model.config, "type_vocab_size", None)
    if types is not None and types <= 1:
        given.discard("token_type_ids")
    return tuple(name for name in _INPUTS if name in accepted and name in given)


def _check_head(source: str, trial: Trial, labels: Sequence[str], task: ExportTask) -> None:
    rows, given = trial.logits[0], trial.logits
    if given == task.head_shape(rows, trial.tokens, len(labels)):
        return
    if given[:-1] == task.head_shape(rows, trial.tokens, len(labels))[:-1]:
        problem = f"the head gives {given[-1]} logits but config.json names {len(labels)} labels. Correct id2label."
    else:
        problem = (
            f"its head gives logits of shape {list(given)} for {rows} rows of {trial.tokens} tokens and {len(labels)} "
            f"labels, which no {task.kind} gives. Pass the --task that it was trained for."
        )
    raise CheckpointError(source, problem)


def _check_ending(source: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse a tokenizer that does not write the token that the model reads its answer at."""
    end = ending_token(model)
    if end is not None and end not in tokenizer("a")["input_ids"]:
        raise CheckpointError(
            source,
            f"{type(model).__name__} reads its answer at the eos token (id {end}), which the tokenizer "
            "does not write. Save the tokenizer that it was trained with.",
        )


def _describe(source: str, revision: str | None) -> str:
    """A directory's name alone, which says nothing about the machine; a Hub id with the commit that was loaded."""
    if Path(source).exists():
        path = Path(os.path.abspath(source))  # links are not followed: mounts name what they lead to by time or hash
        if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
            return f"{path.parent.parent.name.removeprefix('models--').replace('--', '/')}@{path.name}"
        return path.name
    cached = try_to_load_from_cache(source, "config.json", revision=revision)
    return f"{source}@{Path(cached).parent.name}" if isinstance(cached, str) else source
