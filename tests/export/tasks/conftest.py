"""A tiny token classifier, its artifact, and what torch answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertForTokenClassification

from onnxpress_export import ExportReport, export
from tests.conftest import MAX_LENGTH, make_tokenizer, randomize

LABELS = ("O", "B-PER", "I-PER", "place", "B-ORG")
"""As a checkpoint may have them: not all of them are BIO."""


@pytest.fixture(scope="session")
def token_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tokens")
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_LENGTH,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    randomize(BertForTokenClassification(config)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def token_report(token_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export(token_checkpoint, tmp_path_factory.getbasetemp() / "token-artifact", layout="triton")


@pytest.fixture(scope="session")
def token_artifact(token_report: ExportReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert token_report.manifest.task == "token-classification"
    return tmp_path_factory.getbasetemp() / "token-artifact"


@pytest.fixture(scope="session")
def torch_token_logits(token_checkpoint: Path) -> Callable[[Sequence[str]], list[NDArray[np.float32]]]:
    """What torch answers to each token, one text at a time and so without padding."""
    model = BertForTokenClassification.from_pretrained(token_checkpoint).eval()
    tokenizer = make_tokenizer()

    def logits(texts: Sequence[str]) -> list[NDArray[np.float32]]:
        with torch.no_grad():
            return [model(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts]

    return logits
