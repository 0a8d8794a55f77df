"""Shares of words: those of a model that is known, and those of an exported one against texts masked by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.manifest import MANIFEST_NAME
from onnxpress.errors import CheckFailedError, ConfigError, RunError
from onnxpress.explaining.explain import Answering, Question, explain_texts
from onnxpress.explaining.game import Game
from onnxpress.explaining.partition import partition, tree_of
from onnxpress.inputs.encoder import Encoder, TokenRows
from onnxpress.running.cascade import Cascade, Stage
from onnxpress.running.planner import Bucket, plan_batches
from onnxpress.tasks.text_classification import TextClassification
from tests.conftest import MAX_LENGTH, WORDS, edit_json, make_tokenizer

ATOL = 1e-5  # of scores: fp32 sums in another order over two layers, where a text is alone or in a batch
LONG = " ".join(np.random.default_rng(4).choice(WORDS, 300))
TOKENIZER = make_tokenizer().backend_tokenizer


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Iterator[onnxpress.Classifier]:
    with onnxpress.load(artifact, threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def of_activation(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], onnxpress.Classifier]:
    """The same model as one whose labels are not exclusive, or as a regression."""

    def make(activation: str) -> onnxpress.Classifier:
        copy = Path(shutil.copytree(artifact, tmp_path_factory.mktemp(activation) / "artifact"))
        edit_json(copy / MANIFEST_NAME, lambda manifest: manifest.update(activation=activation, thresholds=None))
        return onnxpress.load(copy, threads=1)

    return make


class Sums:
    """A runner whose logits are sums of its tokens' weights, and which remembers each row that it ran."""

    def __init__(self, labels: int = 3, seed: int = 1, scale: float = 1.0) -> None:
        self.weights = np.random.default_rng(seed).normal(size=(TOKENIZER.get_vocab_size(), labels)) * scale
        self.ran: list[bytes] = []
        self.batches: list[int] = []

    def plan(self, lengths: NDArray[np.int64], workers: int) -> list[Bucket]:
        batches = plan_batches(lengths, max_tokens=64, workers=workers)
        return [Bucket(rows, len(rows), int(lengths[rows[0]])) for rows in batches]

    def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
        ids = rows.inputs(bucket.rows, ["input_ids"])["input_ids"]
        self.ran += [row.tobytes() for row in ids]
        self.batches.append(len(ids))
        return self.weights[ids].sum(axis=1).astype(np.float32)

    def share(self, word: str) -> NDArray[np.float64]:
        """What a word of one token adds to the logits."""
        ids = [TOKENIZER.token_to_id(token) for token in (word, "[MASK]")]
        return self.weights[ids[0]] - self.weights[ids[1]]


def answering(*stages: tuple[str, Sums, float], activation: str = "identity", **settings: object) -> Answering:
    settings = {"max_length": 16, "truncation_side": "right", "max_characters": 100_000, **settings}
    labels = stages[0][1].weights.shape[1]
    made = [Stage(name=name, runner=runner, leaves_at=limit) for name, runner, limit in stages]  # type: ignore[arg-type]
    return Answering(
        encoder=Encoder(make_tokenizer().backend_tokenizer, **settings),  # type: ignore[arg-type]
        cascade=Cascade(made, TextClassification(Decision(activation), labels)),  # type: ignore[arg-type]
        workers=None,
        at_once=1,
        labels=[f"label {number}" for number in range(labels)],
        decision=Decision(activation),  # type: ignore[arg-type]
    )


# The known model


@pytest.fixture(params=["occlusion", "shap"])
def method(request: pytest.FixtureRequest) -> str:
    if request.param == "shap":
        pytest.importorskip("shap")
    return str(request.param)


@pytest.mark.parametrize("label", [None, "label 1"])
@pytest.mark.parametrize("text", ["a fine film", "dull plot, very sad", ("good film", "poor plot")])
def test_shares_of_a_sum_are_its_terms(method: str, label: str | None, text: onnxpress.Text) -> None:
    model = Sums()
    question = Question(label=label, method=method)  # type: ignore[arg-type]
    (found,) = explain_texts([text], answering(("fp32", model, 0.0)), question)
    column = int(found.label.removeprefix("label "))
    known = [word for word in found if TOKENIZER.token_to_id(word.text) is not None]
    assert len(known) >= 3 and (label is None or found.label == label)
    wanted = [model.share(word.text)[column] for word in known]
    np.testing.assert_allclose([word.share for word in known], wanted, atol=1e-5)  # float32 logits of order 10
    assert found.base + sum(word.share for word in found) == pytest.approx(found.score, abs=1e-5)
    assert found.predictions[0].score == max(one.score for one in found.predictions)
    assert label is not None or found.label == found.predictions[0].label


def test_windows_are_pooled_as_an_answers_are(method: str) -> None:
    model = Sums()
    many = answering(("fp32", model, 0.0), long_text="windows", stride=4)
    text = " ".join(np.random.default_rng(2).choice(WORDS, 40))
    (found,) = explain_texts([text], many, Question(method=method, evaluations=4_000))  # type: ignore[arg-type]
    rows = many.encoder.encode([text])
    assert len(rows.lengths) > 3 and len(found) == 40
    assert found.score == pytest.approx(many.cascade.begin(rows, None, 1).result()[0].max(), abs=1e-5)
    assert found.base + sum(word.share for word in found) == pytest.approx(found.score, abs=1e-4)


def test_no_row_runs_twice(method: str) -> None:
    model = Sums()
    text = "good good bad a film the plot is poor"
    explain_texts([text], answering(("fp32", model, 0.0)), Question(method=method, evaluations=300))  # type: ignore[arg-type]
    assert len(model.ran) == len(set(model.ran)) >= 11
    assert {len(row) for row in model.ran} == {8 * 11}  # all of the text's own length: batches need no padding
    assert max(model.batches) > 1


def test_windows_that_a_mask_does_not_touch_do_not_run_again() -> None:
    model = Sums()
    text = " ".join(np.random.default_rng(2).choice(WORDS, 40))
    explain_texts([text], answering(("fp32", model, 0.0), long_text="windows", stride=2), Question())
    windows = 4
    assert len(model.ran) == len(set(model.ran)) <= 2 * windows + 40 + (windows - 1) * 2


@pytest.mark.parametrize(("threshold", "precision"), [(0.0, "int8"), (1e9, "fp32")])
def test_all_variants_run_at_the_precision_that_answered(threshold: float, precision: str) -> None:
    quick, exact = Sums(seed=1), Sums(seed=2)
    both = answering(("int8", quick, threshold), ("fp32", exact, 0.0), activation="softmax")
    (found,) = explain_texts(["a fine film"], both, Question())
    other, used = (exact, quick) if precision == "int8" else (quick, exact)
    assert found.precision == precision
    assert len(set(used.ran)) == 5 and len(other.ran) == (0 if precision == "int8" else 1)
    rows = both.encoder.encode(["a fine film"])
    logits = both.cascade.begin(rows, None, 1).result()[0].astype(np.float64)
    assert found.score == pytest.approx(float((np.exp(logits) / np.exp(logits).sum()).max()), abs=1e-6)


def test_an_error_of_a_run_names_the_text() -> None:
    model = Sums()
    model.weights[TOKENIZER.token_to_id("bad")] = np.nan
    with pytest.raises(RunError, match="text 1 cannot be answered: its logits are not finite"):
        explain_texts(["good", "bad", "bad"], answering(("fp32", model, 0.0)), Question())


# The exported one


def masked(text: str, start: int, end: int) -> str:
    return f"{text[:start]} [MASK] {text[end:]}"


@pytest.mark.parametrize("text", ["a good film, but dull", "cafe\u0301 这 \r\n so bad!", "good"])
def test_occlusion_is_what_the_text_masked_by_hand_loses(classifier: onnxpress.Classifier, text: str) -> None:
    text = text.replace("cafe\u0301", "a\u0301")  # of one token, as one mask stands for one
    found = classifier.explain(text)
    column = classifier.labels.index(found.label)
    score = classifier.probabilities([text])[0, column]
    assert found.score == pytest.approx(score, abs=ATOL) and found.text == text and found.method == "occlusion"
    by_hand = classifier.probabilities([masked(text, word.start, word.end) for word in found])[:, column]
    np.testing.assert_allclose([word.share for word in found], score - by_hand, rtol=0, atol=2 * ATOL)
    hidden = " ".join(["[MASK]"] * (int(classifier.count_tokens([text])[0]) - 2))
    assert found.base == pytest.approx(classifier.probabilities([hidden])[0, column], abs=ATOL)


def test_occlusion_of_a_pair_masks_one_text_at_a_time(classifier: onnxpress.Classifier) -> None:
    found = classifier.explain(("good film", "bad plot"), label="positive")
    assert [(word.part, word.text, word.start) for word in found] == [
        (0, "good", 0),
        (0, "film", 5),
        (1, "bad", 0),
        (1, "plot", 4),
    ]
    column = classifier.labels.index("positive")
    by_hand = [("[MASK] film", "bad plot"), ("good [MASK]", "bad plot"), ("good film", "[MASK] plot")]
    wanted = found.score - classifier.probabilities(by_hand)[:, column]
    np.testing.assert_allclose([word.share for word in found[:3]], wanted, rtol=0, atol=2 * ATOL)  # type: ignore[index]
    assert classifier.explain({"text": "good film", "text_pair": "bad plot"}, label="positive") == found


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("text", ["a good film, but 这 very\r\ndull 👍 plot!", ("good film", "the worst plot"), LONG])
def test_shap_adds_up(
    of_activation: Callable[[str], onnxpress.Classifier], activation: str, text: onnxpress.Text
) -> None:
    pytest.importorskip("shap")
    with of_activation(activation) as classifier:
        for label in classifier.labels:
            found = classifier.explain(text, method="shap", label=label, evaluations=200)
            score = classifier.probabilities([text])[0, classifier.labels.index(label)]
            assert found.score == pytest.approx(score, abs=ATOL) and found.label == label
            assert found.base + sum(word.share for word in found) == pytest.approx(found.score, abs=1e-6)
            assert len(found) > 4 and found.method == "shap"


def test_shap_says_the_same_again(classifier: onnxpress.Classifier) -> None:
    pytest.importorskip("shap")
    first, second = (classifier.explain("a good film, but the plot is dull", method="shap") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("text", ["", " \r\n", ("", "")])
def test_a_text_without_words_has_a_score_alone(
    classifier: onnxpress.Classifier, text: onnxpress.Text, method: str
) -> None:
    found = classifier.explain(text, method=method)  # type: ignore[call-overload]
    assert found.words == () and len(found) == 0
    assert found.score == found.base == pytest.approx(classifier.probabilities([text]).max(), abs=ATOL)


def test_one_word_has_all_of_it(classifier: onnxpress.Classifier, method: str) -> None:
    found = classifier.explain(" good ", method=method)  # type: ignore[call-overload]
    assert [(word.text, word.start, word.end) for word in found] == [("good", 1, 5)]
    assert found[0].share == found.score - found.base != 0


def test_many_texts_are_explained_in_order_as_alone(classifier: onnxpress.Classifier, method: str) -> None:
    texts: list[onnxpress.Text] = ["good film", "", ("bad", "plot"), "good film"]
    found = classifier.explain(texts, method=method)  # type: ignore[call-overload]
    assert [one.text for one in found] == texts and found[0] == found[3]
    assert found == [classifier.explain(text, method=method) for text in texts]  # type: ignore[call-overload]
    assert classifier.explain([], method=method) == []  # type: ignore[call-overload]


@pytest.mark.parametrize("workers", [1, 2])
def test_throughput_mode_says_the_same(artifact: Path, classifier: onnxpress.Classifier, workers: int) -> None:
    with onnxpress.load(artifact, optimize_for="throughput", threads=2, workers=workers) as other:
        wanted, found = (one.explain("the plot is dull and so is the star") for one in (classifier, other))
        np.testing.assert_allclose([w.share for w in found], [w.share for w in wanted], rtol=0, atol=2 * ATOL)


def test_a_text_of_100_000_characters_is_explained_as_far_as_it_is_read(
    classifier: onnxpress.Classifier, method: str
) -> None:
    text = ("good film, " * 10_000)[:100_000]
    found = classifier.explain(text, method=method, evaluations=100)  # type: ignore[call-overload]
    assert len(found) == MAX_LENGTH - 2 and found[-1].end < 1_000
    assert all(text[word.start : word.end] == word.text for word in found)


# Bad input


@pytest.mark.parametrize("label", ["neutral", "", "POSITIVE", 1, ["positive"]])
def test_a_label_that_the_model_has_not_is_told(classifier: onnxpress.Classifier, label: object) -> None:
    with pytest.raises(ConfigError, match=r"label must be one of the model's 2 \(negative, positive\), got "):
        classifier.explain("good", label=label)  # type: ignore[call-overload]


def test_many_labels_are_not_all_listed() -> None:
    with pytest.raises(ConfigError, match=r"one of the model's 30 \(label 0, .*label 7, …\), got 'x'"):
        explain_texts(["good"], answering(("fp32", Sums(30), 0.0)), Question(label="x"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "lime"}, "method must be occlusion or shap, got 'lime'"),
        ({"method": None}, "method must be occlusion or shap, got None"),
        ({"evaluations": 1}, "evaluations must be at least 2, got 1"),
        ({"evaluations": 2.5}, "evaluations must be a whole number of at least 2, got 2.5"),
    ],
)
def test_settings_outside_their_range_are_told(
    classifier: onnxpress.Classifier, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        classifier.explain("good", **settings)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("texts", "error", "index"),
    [
        (["good", None], onnxpress.TextTypeError, 1),
        (["good", "x" * 100_001], onnxpress.TextTooLongError, 1),
        (["\ud800"], onnxpress.TextEncodingError, 0),
        ({"text": 1}, onnxpress.TextTypeError, 0),
        (7, onnxpress.TextTypeError, 0),
    ],
)
def test_what_is_no_text_is_told_by_its_place(
    classifier: onnxpress.Classifier, texts: object, error: type[onnxpress.TextError], index: int
) -> None:
    with pytest.raises(error) as caught:
        classifier.explain(texts)  # type: ignore[call-overload]
    assert caught.value.index == index


def test_a_text_that_may_not_be_cut_is_told_by_its_place(artifact: Path) -> None:
    with onnxpress.load(artifact, threads=1, long_text="error") as strict:
        with pytest.raises(onnxpress.TooManyTokensError, match="text 1 has more than"):
            strict.explain(["good", LONG])


def test_a_closed_classifier_explains_nothing(artifact: Path) -> None:
    loaded = onnxpress.load(artifact, threads=1)
    loaded.close()
    with pytest.raises(onnxpress.ClosedError):
        loaded.explain("good")


def test_without_the_package_the_extra_is_named(
    classifier: onnxpress.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxpress.extras.find_spec", lambda module: None)
    with pytest.raises(onnxpress.MissingDependencyError, match=r"shap is not installed.*onnxpress\[explain\]"):
        classifier.explain("good film", method="shap")
    assert len(classifier.explain("good film")) == 2


# SHAP's tree and its check


def test_shares_that_do_not_add_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    explainers = pytest.importorskip("shap.explainers")

    class Broken:
        def __init__(self, game: Game, masker: object) -> None:
            self.values = np.full((1, game.words, 2), 0.25)

        def __call__(self, *_: object, **settings: object) -> Broken:
            return self

    class Halves:
        words = 2

    monkeypatch.setattr(explainers, "PartitionExplainer", Broken)
    ends = np.zeros(2), np.array([0.5, 0.5])
    assert partition(Halves(), [0], *ends, 10).sum() == 1  # type: ignore[arg-type]
    with pytest.raises(CheckFailedError, match=r"shares of 2 words miss the score by 0\.1"):
        partition(Halves(), [0], ends[0], ends[1] + 0.1, 10)  # type: ignore[arg-type]


@pytest.mark.parametrize("breaks", [[], [0], [0, 0, 0], [0, 3, 0, 2, 1], [1] * 40, list(range(20))])
def test_the_tree_is_a_linkage_of_neighbours(breaks: list[int]) -> None:
    tree, words = tree_of(breaks), len(breaks) + 1
    held = {number: [number] for number in range(words)}
    for row, (left, right, _, size) in enumerate(tree.tolist()):
        held[words + row] = held.pop(left) + held.pop(right)
        assert len(held[words + row]) == size
        assert held[words + row] == list(range(held[words + row][0], held[words + row][-1] + 1))
    assert list(held.values()) == [list(range(words))]


def test_the_tree_parts_first_where_the_text_does() -> None:
    tree = tree_of([0, 3, 0, 0])
    assert sorted(tree[int(child) - 5, 3] for child in tree[-1, :2]) == [2, 3]
