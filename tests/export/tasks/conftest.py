"""A tiny token classifier, its artifact, and what torch answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertForTokenClassification

from onnxpress_export import ExportReport, export
from tests.conftest import make_tokenizer, save_checkpoint

LABELS = ("O", "B-PER", "I-PER", "place", "B-ORG")
"""As a checkpoint may have them: not all of them are BIO."""


@pytest.fixture(scope="session")
def token_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tokens")
    save_checkpoint(directory, LABELS, BertForTokenClassification)
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
