"""The user's texts, in two parts: one to choose by, and one that the choice never sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Tokenizer

from onnxpress.encoder import Encoder, TokenRows
from onnxpress.errors import ConfigError
from onnxpress.examples import Example, read_examples, require_labels
from onnxpress.fidelity import Answers, Decision
from onnxpress.generic import GENERIC_NAME, generic_examples
from onnxpress.planner import plan_batches
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.verify import torch_logits

__all__ = ["SEED", "Sample", "read_sample", "torch_answers"]

SEED: Final = 20_240_229
_LEAST: Final = 100
_MOST_TO_SEARCH: Final = 1_000
_MOST_FOR_TORCH: Final = 1_000
_MAX_CHARACTERS: Final = 100_000
_MAX_TOKENS: Final = 512


@dataclass(frozen=True, slots=True)
class Sample:
    """Examples and their tokens.

    Attributes:
        name: Name of the file that they came from.
        seen, unseen: What calibration and search use, and what the figures are measured on.
        seen_rows, unseen_rows: Their tokens.
    """

    name: str
    seen: Sequence[Example]
    unseen: Sequence[Example]
    seen_rows: TokenRows
    unseen_rows: TokenRows


def read_sample(path: Path | None, checkpoint: Checkpoint) -> Sample:
    """Read `path`, or take generic text, drop repeated texts, and split it at random, always the same way.

    Raises:
        ConfigError: It cannot be read, has too few different texts, or labels that the model does not have.
        TextError: A text cannot be tokenized.
    """
    found = generic_examples() if path is None else read_examples(path)
    examples = list({example.text: example for example in found}.values())
    if len(examples) < _LEAST:
        raise ConfigError(f"{path}: {len(examples)} different texts; at least {_LEAST} are needed to measure answers.")
    if path is not None:
        require_labels(examples, checkpoint.labels, path)
    order = np.random.default_rng(SEED).permutation(len(examples))
    cut = min(len(examples) // 2, _MOST_TO_SEARCH)
    seen, unseen = ([examples[index] for index in part] for part in (order[:cut], order[cut:]))
    encoder = Encoder(
        Tokenizer.from_str(checkpoint.tokenizer.backend_tokenizer.to_str()),
        max_length=checkpoint.max_length,
        truncation_side=checkpoint.truncation_side,
        max_characters=_MAX_CHARACTERS,
    )
    rows = [encoder.encode([example.text for example in part]) for part in (seen, unseen)]
    return Sample(GENERIC_NAME if path is None else path.name, seen, unseen, *rows)


def torch_answers(checkpoint: Checkpoint, sample: Sample, decision: Decision) -> Answers:
    """What torch answers to the first of the sample's unseen texts, in batches of equal length."""
    lengths = sample.unseen_rows.lengths[:_MOST_FOR_TORCH]
    logits = np.empty((len(lengths), len(checkpoint.labels)), dtype=np.float32)
    for batch in plan_batches(lengths, max_tokens=_MAX_TOKENS):
        logits[batch] = torch_logits(checkpoint, sample.unseen_rows.inputs(batch, checkpoint.input_names))
    return Answers(logits, decision)
