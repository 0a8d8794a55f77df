"""Shared by all tests: tiny seeded classifiers and tokenizers, made here, and artifacts exported from them."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from onnxpress_export import ExportReport, export
from tests.browser import started_browser
from tests.made_once import MadeOnce
from tests.traced_once import traced_once

# Two layers of 32 features gain nothing by threads, and those of several workers wait for each other on the same CPUs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = tuple(
    "a an and as at bad best but by cast dull end ever every film fine for fun good great has heart in is it its joy "
    "just kind less like long lost love made more most much never nice not of off on one only or our out over plot "
    "poor pure rare real sad scene see so some star story sweet than that the this time to too two true very was "
    "way well who why with wit work worst you".split()
)
MANY_LABELS = ("calm", "glad", "sad")
MAX_LENGTH = 140
TOKEN_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")

MakeCheckpoint = Callable[..., Path]
Model = TypeVar("Model", bound=torch.nn.Module)


def make_tokenizer(max_length: int = MAX_LENGTH) -> PreTrainedTokenizerFast:
    """A lower-casing word tokenizer that writes [CLS] A [SEP] B [SEP], as BERT's does."""
    letters = map(chr, range(ord("a"), ord("z") + 1))
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys((*SPECIAL, *WORDS, *letters)))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


def randomize(model: Model) -> Model:
    """Seeded weights, biases and normalizations, none of them the zeros and ones that a fresh model has."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator) * 0.3
            weight.copy_(1 + noise if "LayerNorm.weight" in name or "layer_norm.weight" in name else noise)
    return model


def save_checkpoint(
    directory: Path,
    labels: Sequence[str] = ("negative", "positive"),
    architecture: type[PreTrainedModel] = BertForSequenceClassification,
    **settings: object,
) -> None:
    """Save a seeded two-layer BERT classifier; further keyword arguments go to its configuration."""
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_LENGTH,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        **settings,
    )
    randomize(architecture(config)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """`save_checkpoint` into a directory of the test's own."""

    def make(labels: Sequence[str] = ("negative", "positive"), **settings: object) -> Path:
        directory = tmp_path_factory.mktemp("checkpoint")
        save_checkpoint(directory, labels, **settings)
        return directory

    return make


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    return MadeOnce(tmp_path_factory)


@pytest.fixture(scope="session")
def checkpoint(made_once: MadeOnce) -> Path:
    return made_once("checkpoint", save_checkpoint)


@pytest.fixture(scope="session")
def exported(checkpoint: Path, made_once: MadeOnce) -> Path:
    """The artifact of `checkpoint`, and beside it what its export returned."""

    def make(folder: Path) -> None:
        (folder / "report.pickle").write_bytes(pickle.dumps(export(checkpoint, folder / "artifact")))

    return made_once("exported", make)


@pytest.fixture(scope="session")
def report(exported: Path) -> ExportReport:
    found: ExportReport = pickle.loads((exported / "report.pickle").read_bytes())
    return found


@pytest.fixture(scope="session")
def artifact(exported: Path) -> Path:
    """The artifact of `checkpoint`; tests that change one change a copy."""
    return exported / "artifact"


@pytest.fixture(name="traced_once")
def share_traces() -> Iterator[None]:
    """For tests of what an export does with a graph, and not of how it is traced."""
    with traced_once():
        yield


@pytest.fixture(scope="session")
def other_artifact(made_once: MadeOnce) -> Path:
    """Another model of the same shape: other labels in another order, and other answers."""
    return export_once(made_once, "other", ("sunny", "rainy"), layer_norm_eps=0.5)


@pytest.fixture(scope="session")
def many_labels(made_once: MadeOnce) -> Path:
    """An artifact that may accept several of three labels."""
    return export_once(made_once, "many-labels", MANY_LABELS, problem_type="multi_label_classification")


@pytest.fixture(scope="session")
def ranker(made_once: MadeOnce) -> Path:
    """An artifact of one value, a regression."""
    return export_once(made_once, "ranker", ("relevance",), problem_type="regression")


def export_once(made_once: MadeOnce, name: str, labels: Sequence[str], **settings: object) -> Path:
    """The artifact of the checkpoint that these settings give, in a directory called `name`."""

    def make(folder: Path) -> None:
        save_checkpoint(folder / "checkpoint", labels, **settings)
        export(folder / "checkpoint", folder / name)

    return made_once(f"{name}-exported", make) / name


@pytest.fixture(scope="session")
def token_artifact(made_once: MadeOnce) -> Path:
    """Of a seeded two-layer BERT that labels tokens."""
    return made_once("tagger", _export_tagger) / "artifact"


def _export_tagger(directory: Path) -> None:
    save_checkpoint(directory / "checkpoint", TOKEN_LABELS, BertForTokenClassification)
    export(directory / "checkpoint", directory / "artifact")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """300 texts of 1 to 60 words, seeded; some repeat."""
    generator = np.random.default_rng(5)
    return [" ".join(generator.choice(WORDS, size)) for size in generator.integers(1, 61, 300)]


@pytest.fixture(scope="session")
def torch_logits(checkpoint: Path) -> Callable[[Sequence[object]], NDArray[np.float32]]:
    """What torch answers, one text at a time and so without padding."""
    model = BertForSequenceClassification.from_pretrained(checkpoint).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint)

    def logits(texts: Sequence[object]) -> NDArray[np.float32]:
        rows = []
        for text in texts:
            parts = text if isinstance(text, tuple) else (text,)
            encoded = tokenizer(*parts, truncation=True, return_tensors="pt")
            with torch.no_grad():
                rows.append(model(**encoded).logits.numpy()[0])
        return np.stack(rows)

    return logits


@dataclass(frozen=True, slots=True)
class Exported:
    """A checkpoint, and the artifact made of it."""

    checkpoint: Path
    artifact: Path


@pytest.fixture(scope="session")
def bert_nli(made_once: MadeOnce) -> Path:
    """An artifact of natural language inference."""
    return export_once(made_once, "nli", ("contradiction", "neutral", "entailment"))


@pytest.fixture(scope="session")
def reranker(made_once: MadeOnce) -> Exported:
    """One score for a pair, its raw value, as sentence-transformers stores it."""
    stored = {"version": "5.1.2", "activation_fn": "torch.nn.modules.linear.Identity"}
    path = export_once(made_once, "reranker", ("LABEL_0",), sentence_transformers=stored)
    return Exported(path.with_name("checkpoint"), path)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with started_browser() as driver:
        yield driver


def edit_json(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the JSON object in the file at `path` in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
