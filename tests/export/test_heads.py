"""SetFit's and sentence-transformers' models with a head: their own probabilities, and one line for what has none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, T5Config, T5Model

import onnxpress
from onnxpress.answers.predictions import activate
from onnxpress.errors import CheckpointError, MissingDependencyError
from onnxpress_export import export
from onnxpress_export.checkpoint import Checkpoint, load_checkpoint
from onnxpress_export.checkpoint_files import check_at_once
from onnxpress_export.heads.sentence_modules import Pooling, _modes
from tests.conftest import MAX_LENGTH, WORDS, edit_json, make_tokenizer, randomize

WIDTH = 32
ATOL = 1e-5  # fp32 against scikit-learn's fp64, over two layers; probabilities are at most 1
TEXTS = ["good", "a sad story of the worst kind", "the film has heart and a star", "plot " * 30, "fun fun fun", "why"]
Transform = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("body")
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=MAX_LENGTH,
    )  # fmt: skip
    randomize(BertModel(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


Save = Callable[..., Path]


@pytest.fixture
def save(body: Path, tmp_path: Path) -> Save:
    """A model's directory: the body, then modules as (kind, settings, tensors), and a head."""

    def make(
        modules: Sequence[tuple[str, dict[str, Any], dict[str, torch.Tensor]]] = (("Pooling", {}, {}),),
        head: object = None,
        folder: str = "",
        **setfit: object,
    ) -> Path:
        root = tmp_path / "model"
        place = root / folder
        place.mkdir(parents=True)
        for file in body.iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        listed = [{"idx": 0, "name": "0", "path": folder, "type": "sentence_transformers.models.Transformer"}]
        for number, (kind, settings, tensors) in enumerate(modules, start=1):
            path = f"{number}_{kind}"
            (root / path).mkdir()
            (root / path / "config.json").write_text(json.dumps(settings))
            if tensors:
                save_file(tensors, root / path / "model.safetensors")
            kinds = f"sentence_transformers.sentence_transformer.modules.{kind.lower()}.{kind}"
            listed.append({"idx": number, "name": str(number), "path": path, "type": kinds})
        (root / "modules.json").write_text(json.dumps(listed))
        if head is not None:
            joblib.dump(head, root / "model_head.pkl")
        if setfit:
            (root / "config_setfit.json").write_text(json.dumps(setfit))
        return root

    return make


def token_features(body: Path, text: str, limit: int = MAX_LENGTH) -> NDArray[np.float32]:
    """One text's, [tokens, features]: what sentence-transformers pools, without padding."""
    model, tokenizer = BertModel.from_pretrained(body).eval(), PreTrainedTokenizerFast.from_pretrained(body)
    with torch.no_grad():
        rows = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
        found: NDArray[np.float32] = model(**rows)[0][0].numpy()
    return found


def embeddings(body: Path, pool: Transform, texts: Sequence[str] = TEXTS) -> NDArray[np.float32]:
    return np.stack([pool(token_features(body, text)) for text in texts]).astype(np.float32)


def mean(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = tokens.mean(0)
    return found


def probabilities(checkpoint: Checkpoint, texts: Sequence[str] = TEXTS) -> NDArray[np.float32]:
    """Torch's, of padded rows."""
    rows = checkpoint.tokenizer(
        list(texts), padding=True, truncation=True, max_length=checkpoint.max_length, return_tensors="pt"
    )
    with torch.no_grad():
        logits = checkpoint.model(**{name: rows[name] for name in checkpoint.input_names}).logits.numpy()
    return activate(logits, checkpoint.activation)


def trained_on(classes: Sequence[object], **settings: Any) -> LogisticRegression:
    generator = np.random.default_rng(7)
    rows = generator.normal(size=(60, WIDTH)) * 3
    labels = np.array([classes[index % len(classes)] for index in range(60)])
    return LogisticRegression(C=3.0, **settings).fit(rows, labels)


def labelled_rows(labels: int, *, constant: bool = False) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    generator = np.random.default_rng(8)
    there = generator.integers(0, 2, (60, labels))
    if constant:
        there[:, 0] = 0
        there[:, 1] = 1
    return generator.normal(size=(60, WIDTH)) * 3, there


# --- pooling


POOLINGS: dict[str, tuple[dict[str, Any], Transform]] = {
    "mean, by default": ({}, mean),
    "cls": ({"pooling_mode": "cls"}, lambda tokens: tokens[0]),
    "max": ({"pooling_mode": "max"}, lambda tokens: tokens.max(0)),
    "lasttoken": ({"pooling_mode": "lasttoken"}, lambda tokens: tokens[-1]),
    "root": ({"pooling_mode": "mean_sqrt_len_tokens"}, lambda tokens: tokens.sum(0) / np.sqrt(len(tokens))),
    "weighted": (
        {"pooling_mode": "weightedmean"},
        lambda tokens: (tokens * np.arange(1, len(tokens) + 1)[:, None]).sum(0) / np.arange(1, len(tokens) + 1).sum(),
    ),
    "several": (
        {"pooling_mode": ["max", "cls"]},
        lambda tokens: np.concatenate([tokens.max(0), tokens[0]]),
    ),
    "several, in the former words": (
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False},
        lambda tokens: np.concatenate([tokens[0], tokens.mean(0)]),
    ),
}


@pytest.mark.parametrize("kind", list(POOLINGS))
def test_padding_counts_nowhere(kind: str) -> None:
    settings, pool = POOLINGS[kind]
    generator = np.random.default_rng(3)
    rows = [generator.normal(size=(size, WIDTH)).astype(np.float32) for size in (3, 7, 1)]
    for pads_left in (False, True):
        hidden = generator.normal(size=(3, 7, WIDTH)).astype(np.float32) * 100  # what padding becomes is arbitrary
        mask = np.zeros((3, 7), dtype=np.int64)
        for row, (tokens, shown) in enumerate(zip(rows, mask, strict=True)):
            kept = slice(7 - len(tokens), 7) if pads_left else slice(len(tokens))
            hidden[row, kept], shown[kept] = tokens, 1
        module = Pooling(_modes("model", settings), pads_left=pads_left)
        found = module(torch.from_numpy(hidden), torch.from_numpy(mask)).numpy()
        np.testing.assert_allclose(found, np.stack([pool(tokens) for tokens in rows]), rtol=0, atol=ATOL)


@pytest.mark.parametrize("kind", list(POOLINGS))
def test_each_pooling_is_sentence_transformers(save: Save, body: Path, kind: str) -> None:
    settings, pool = POOLINGS[kind]
    size = len(pool(np.zeros((3, WIDTH), dtype=np.float32)))
    dense = torch.nn.Linear(size, 3)
    weights = {"linear.weight": randomize(dense).weight.detach(), "linear.bias": dense.bias.detach()}
    scores = {"in_features": size, "out_features": 3, "activation_function": "torch.nn.modules.linear.Identity"}
    folder = save([("Pooling", settings, {}), ("Dense", {**scores, "module_output_name": "scores"}, weights)])
    checkpoint = load_checkpoint(str(folder), activation="identity")
    wanted = dense(torch.from_numpy(embeddings(body, pool))).detach().numpy()
    np.testing.assert_allclose(probabilities(checkpoint), wanted, rtol=0, atol=20 * ATOL)  # values up to 20


def test_of_an_encoder_with_a_decoder_the_encoder_is_the_body(tmp_path: Path) -> None:
    """As sentence-transformers takes T5."""
    tokenizer = make_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=4,
        decoder_start_token_id=0,
    )  # fmt: skip
    model = randomize(T5Model(config)).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "modules.json").write_text(
        json.dumps([{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"}])
    )
    head = trained_on([0, 1])
    joblib.dump(head, tmp_path / "model_head.pkl")
    rows = []
    for text in TEXTS:
        with torch.no_grad():
            tokens = tokenizer(text, truncation=True, return_tensors="pt")
            rows.append(model.encoder(tokens["input_ids"], tokens["attention_mask"])[0][0].numpy().mean(0))
    found = probabilities(load_checkpoint(str(tmp_path), allow_pickle=True))
    np.testing.assert_allclose(found, head.predict_proba(np.stack(rows)), rtol=0, atol=5 * ATOL)


# --- SetFit with scikit-learn


def sklearn_heads() -> dict[str, tuple[Any, list[str] | None, tuple[str, ...], str]]:
    """A head, SetFit's labels, the artifact's labels, and the activation."""
    return {
        "binary": (trained_on([0, 1]), ["no", "yes"], ("no", "yes"), "softmax"),
        "binary, without names": (trained_on([0, 1]), None, ("0", "1"), "softmax"),
        "binary, liblinear": (trained_on([0, 1], solver="liblinear"), None, ("0", "1"), "softmax"),
        "words": (trained_on(["b", "a", "c"]), None, ("a", "b", "c"), "softmax"),
        "a label that was never there": (trained_on([0, 2, 3]), list("wxyz"), ("w", "y", "z"), "softmax"),
        "one against the rest": (
            OneVsRestClassifier(LogisticRegression()).fit(*_rows_of([0, 1, 2])),
            None,
            ("0", "1", "2"),
            "softmax",
        ),
        "one against the rest, of two": (
            OneVsRestClassifier(LogisticRegression()).fit(*_rows_of([0, 1])),
            None,
            ("0", "1"),
            "softmax",
        ),
        "several labels": (
            OneVsRestClassifier(LogisticRegression()).fit(*labelled_rows(3)),
            list("abc"),
            ("a", "b", "c"),
            "sigmoid",
        ),
        "a label that none or all had": (
            OneVsRestClassifier(LogisticRegression()).fit(*labelled_rows(4, constant=True)),
            None,
            ("0", "1", "2", "3"),
            "sigmoid",
        ),
        "several outputs": (
            MultiOutputClassifier(LogisticRegression()).fit(*labelled_rows(3)),
            list("abc"),
            ("a", "b", "c"),
            "sigmoid",
        ),
    }


def _rows_of(classes: Sequence[object]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    generator = np.random.default_rng(9)
    return generator.normal(size=(60, WIDTH)) * 3, np.array([classes[index % len(classes)] for index in range(60)])


def setfit_probabilities(head: Any, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """SetFitModel.predict_proba."""
    found = head.predict_proba(rows)
    return np.stack(found, axis=1)[..., 1] if isinstance(found, list) else found


@pytest.mark.parametrize("normalizes", [False, True])
@pytest.mark.parametrize("kind", list(sklearn_heads()))
def test_each_head_has_scikit_learns_probabilities(save: Save, body: Path, kind: str, normalizes: bool) -> None:
    head, named, labels, activation = sklearn_heads()[kind]
    folder = save(head=head, normalize_embeddings=normalizes, labels=named)
    checkpoint = load_checkpoint(str(folder), allow_pickle=True)
    assert (checkpoint.labels, checkpoint.activation) == (labels, activation)
    rows = embeddings(body, mean)
    rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True) if normalizes else rows
    np.testing.assert_allclose(probabilities(checkpoint), setfit_probabilities(head, rows), rtol=0, atol=ATOL)


def test_a_head_of_an_older_scikit_learn(save: Save, body: Path) -> None:
    """Which could be told how several classes are meant."""
    rows = embeddings(body, mean)
    head = trained_on([0, 1, 2])
    values = head.decision_function(rows)
    head.multi_class = "ovr"
    apart = 1 / (1 + np.exp(-values))
    found = probabilities(load_checkpoint(str(save(head=head)), allow_pickle=True))
    np.testing.assert_allclose(found, apart / apart.sum(-1, keepdims=True), rtol=0, atol=ATOL)


def test_two_classes_of_an_older_multinomial(save: Save, body: Path) -> None:
    head = trained_on([0, 1])
    head.multi_class = "multinomial"
    values = head.decision_function(embeddings(body, mean))
    found = probabilities(load_checkpoint(str(save(head=head)), allow_pickle=True))
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-2 * values)), rtol=0, atol=ATOL)


# --- SetFit's own head


class SetFitHead(torch.nn.Module):
    """What SetFit pickles, but for its package."""

    def __init__(self, labels: int, *, multitarget: bool) -> None:
        super().__init__()
        self.linear = randomize(torch.nn.Linear(WIDTH, labels))
        self.temperature, self.eps, self.multitarget = 0.5, 1e-5, multitarget


@pytest.mark.parametrize("multitarget", [False, True])
def test_setfits_torch_head(save: Save, body: Path, monkeypatch: pytest.MonkeyPatch, multitarget: bool) -> None:
    head = SetFitHead(3, multitarget=multitarget)
    with torch.no_grad():
        logits = head.linear(torch.from_numpy(embeddings(body, mean))) / (0.5 + 1e-5)
    wanted = torch.sigmoid(logits) if multitarget else torch.softmax(logits, -1)
    import sys
    import types

    module = types.ModuleType("setfit.modeling")
    module.SetFitHead = SetFitHead  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "setfit", types.ModuleType("setfit"))
        patch.setitem(sys.modules, "setfit.modeling", module)
        patch.setattr(SetFitHead, "__module__", "setfit.modeling")
        folder = save(head=head, labels=["a", "b", "c"])
    assert "setfit" not in sys.modules
    checkpoint = load_checkpoint(str(folder), allow_pickle=True)
    assert checkpoint.labels == ("a", "b", "c")
    np.testing.assert_allclose(probabilities(checkpoint), wanted.numpy(), rtol=0, atol=ATOL)
    assert "setfit" not in sys.modules, "what stood for it is gone"


def test_a_head_of_tensors_needs_no_leave(save: Save, body: Path) -> None:
    folder = save(labels=["a", "b"])
    linear = randomize(torch.nn.Linear(WIDTH, 2))
    save_file(
        {"linear.weight": linear.weight.detach(), "linear.bias": linear.bias.detach()},
        folder / "model_head.safetensors",
    )
    with torch.no_grad():
        wanted = torch.softmax(linear(torch.from_numpy(embeddings(body, mean))), -1).numpy()
    np.testing.assert_allclose(probabilities(load_checkpoint(str(folder))), wanted, rtol=0, atol=2 * ATOL)


# --- the whole way


@pytest.fixture(scope="module")
def reference(body: Path) -> Transform:
    return lambda tokens: np.concatenate([tokens[0], tokens.max(0), tokens.mean(0)])


def test_an_artifact_answers_as_setfit_does(save: Save, body: Path, reference: Transform, tmp_path: Path) -> None:
    generator = np.random.default_rng(12)
    dense = randomize(torch.nn.Linear(3 * WIDTH, WIDTH))
    head = trained_on(["bad", "fair", "good"])
    folder = save(
        [
            ("Pooling", {"pooling_mode": ["cls", "max", "mean"], "embedding_dimension": WIDTH}, {}),
            (
                "Dense",
                {"in_features": 3 * WIDTH, "out_features": WIDTH, "bias": True,
                 "activation_function": "torch.nn.modules.activation.Tanh"},
                {"linear.weight": dense.weight.detach(), "linear.bias": dense.bias.detach()},
            ),
            ("Normalize", {}, {}),
        ],
        head=head,
        labels=None,
    )  # fmt: skip
    report = export(folder, tmp_path / "artifact", allow_pickle=True)
    assert report.manifest.labels == ("bad", "fair", "good") and report.manifest.variants[0].packed is not None
    assert report.manifest.provenance.architecture == "SentenceClassifier"
    texts = [*TEXTS, *(" ".join(generator.choice(WORDS, size)) for size in generator.integers(1, 200, 30))]
    with torch.no_grad():
        rows = torch.tanh(dense(torch.from_numpy(embeddings(body, reference, texts))))
    wanted = head.predict_proba(torch.nn.functional.normalize(rows).numpy())
    assert len(set(wanted.argmax(-1))) > 1
    with onnxpress.load(tmp_path / "artifact", spinning=False) as classifier:
        np.testing.assert_allclose(classifier.probabilities(texts), wanted, rtol=0, atol=ATOL)
        np.testing.assert_allclose(classifier.mixed().probabilities(texts), wanted, rtol=0, atol=ATOL)


@pytest.mark.slow
def test_int8_of_a_joined_model_keeps_its_answers(save: Save, body: Path, tmp_path: Path) -> None:
    head = trained_on(["bad", "good"])
    folder = save(head=head, normalize_embeddings=False)
    report = export(
        folder, tmp_path / "artifact", allow_pickle=True, precisions=("fp32", "int8"), max_disagreement=0.05
    )
    (int8,) = [variant for variant in report.manifest.variants if variant.precision == "int8"]
    assert int8.fidelity is not None and int8.fidelity.torch_texts == int8.fidelity.texts
    assert (
        int8.fidelity.changed <= 0.05 * int8.fidelity.texts
    )  # of a random model, which wavers more than a trained one


def test_a_cross_encoder_of_modules(save: Save, body: Path, tmp_path: Path) -> None:
    """Its scores are the last module's, and its activation stands beside the modules."""
    dense = randomize(torch.nn.Linear(WIDTH, 1))
    scores = {"in_features": WIDTH, "out_features": 1, "activation_function": "torch.nn.modules.linear.Identity"}
    folder = save(
        [
            ("Pooling", {"pooling_mode": "cls"}, {}),
            (
                "Dense",
                {**scores, "module_output_name": "scores"},
                {"linear.weight": dense.weight.detach(), "linear.bias": dense.bias.detach()},
            ),
        ],
        folder="0_Transformer",
    )
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity"})
    )
    report = export(folder, tmp_path / "artifact")
    assert report.manifest.activation == "identity"
    assert report.manifest.variants[0].cpu.rewrites["prune_to_classified_token"], "the first token alone is read"
    query, documents = "a film with heart", ["fun", "sad story", "the worst plot"]
    model, tokenizer = BertModel.from_pretrained(body).eval(), PreTrainedTokenizerFast.from_pretrained(body)
    with torch.no_grad():
        rows = tokenizer([query] * 3, documents, padding=True, return_tensors="pt")
        wanted = dense(model(**rows)[0][:, 0])[:, 0].numpy()
    with onnxpress.load(tmp_path / "artifact", spinning=False) as classifier:
        found = classifier.rank(query, documents)
    assert [one.index for one in found] == np.argsort(-wanted).tolist()
    np.testing.assert_allclose(sorted(one.score for one in found), np.sort(wanted), rtol=0, atol=2e-5)


# --- what the files say beside the weights


def test_the_length_and_the_casing_are_sentence_transformers(save: Save, body: Path) -> None:
    head = trained_on([0, 1])
    folder = save(head=head)
    edit_json(folder / "tokenizer.json", lambda content: content["normalizer"].update(lowercase=False))  # type: ignore[attr-defined]
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12, "do_lower_case": True}))
    checkpoint = load_checkpoint(str(folder), allow_pickle=True)
    assert checkpoint.max_length == 12
    texts = ["GOOD film " * 20, "Sad Story"]
    rows = np.stack([mean(token_features(body, text, limit=12)) for text in texts])
    np.testing.assert_allclose(probabilities(checkpoint, texts), head.predict_proba(rows), rtol=0, atol=ATOL)


def test_labels_may_be_named_anew(save: Save) -> None:
    folder = save(head=trained_on([0, 1]), labels=["a", "b"])
    assert load_checkpoint(str(folder), allow_pickle=True, labels=["x", "y"]).labels == ("x", "y")
    with pytest.raises(CheckpointError, match="gives 2 logits, and 3 labels are named"):
        load_checkpoint(str(folder), allow_pickle=True, labels=["x", "y", "z"])


# --- what cannot be exported


def refused(folder: Path, words: str, *, allow_pickle: bool = True) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(str(folder), allow_pickle=allow_pickle)
    assert "\n" not in str(caught.value)


def test_a_pickle_needs_leave(save: Save) -> None:
    folder = save(head=trained_on([0, 1]))
    check_at_once(str(folder), allow_pickle=False)
    refused(folder, "model_head.pkl. is a pickle.*--allow-pickle", allow_pickle=False)


def test_an_embedding_model_is_no_classifier(save: Save) -> None:
    refused(save(), "gives embeddings: it has no classification head.*SetFit")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (RandomForestClassifier(2), "RandomForestClassifier, which is no linear"),
        (RidgeClassifier(), "RidgeClassifier"),
        (ClassifierChain(LogisticRegression()), "ClassifierChain"),
        (OneVsRestClassifier(RidgeClassifier()), "made of RidgeClassifier"),
        ({"coef": 3}, "dict"),
        (LogisticRegression(), "not as it was fitted"),
    ],
)
def test_another_head_is_refused_by_its_name(save: Save, head: Any, words: str) -> None:
    if isinstance(head, OneVsRestClassifier):
        head.fit(*_rows_of([0, 1, 2]))
    refused(save(head=head), words)


def test_a_broken_pickle_is_one_line(save: Save) -> None:
    folder = save(head=trained_on([0, 1]))
    (folder / "model_head.pkl").write_bytes(b"no pickle")
    refused(folder, "model_head.pkl cannot be loaded")


def test_labels_that_do_not_fit(save: Save) -> None:
    refused(save(head=trained_on([0, 1, 2]), labels=["a", "b"]), "its head says 2, and config_setfit.json names 2")


def test_scikit_learn_is_asked_for_by_its_extra(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpress.extras.find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(MissingDependencyError, match=r"onnxpress\[setfit\]"):
        load_checkpoint(str(save(head=trained_on([0, 1]))), allow_pickle=True)


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ([("LSTM", {}, {})], "module LSTM is none"),
        ([("Pooling", {"pooling_mode": "median"}, {})], "pools tokens by 'median'"),
        ([("Normalize", {}, {})], "does not pool its tokens"),
        ([("Pooling", {}, {}), ("Dense", {"in_features": 32, "out_features": 32}, {})], "no weights for its module"),
        (
            [
                ("Pooling", {}, {}),
                ("Dense", {"in_features": 32, "out_features": 32, "activation_function": "my.own.Function"}, {}),
            ],
            "activation 'my.own.Function'",
        ),
        ([("Pooling", {}, {}), ("Dense", {}, {})], "module 2_Dense cannot be read"),
    ],
)
def test_other_modules_are_refused_by_name(save: Save, modules: Any, words: str) -> None:
    refused(save(modules, head=trained_on([0, 1])), words)


def test_other_bodies_are_refused_by_name(save: Save) -> None:
    folder = save(head=trained_on([0, 1]))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"transformer_task": "text-generation"}))
    refused(folder, "text-generation .a language model that says yes or no")
    edit_json(folder / "modules.json", lambda content: content[0].update(type="a.b.StaticEmbedding"))  # type: ignore[index]
    refused(folder, "first module is StaticEmbedding")
    (folder / "modules.json").write_text("[]")
    refused(folder, "lists no module")
    (folder / "modules.json").write_text("{")
    refused(folder, "modules.json cannot be read")
    (folder / "modules.json").unlink()
    refused(folder, "holds model_head.pkl but no modules.json")


def with_prompt(folder: Path, name: str | None) -> Path:
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "query: "}, "default_prompt_name": name})
    )
    return folder


def test_a_prompt_before_every_text_is_told(save: Save) -> None:
    folder = with_prompt(save(head=trained_on([0, 1])), "query")
    refused(folder, "writes the prompt 'query: ' before every text")
    assert load_checkpoint(str(with_prompt(folder, None)), allow_pickle=True).labels == ("0", "1")


def test_a_prompt_of_a_cross_encoder_is_told(save: Save) -> None:
    folder = with_prompt(save([]), "query")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"transformer_task": "sequence-classification"}))
    refused(folder, "writes the prompt 'query: ' before every text")
