"""Forms of texts in every public method: what one takes for a text every other does, and none takes one apart."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, UserList, deque, namedtuple
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onnxpress
from onnxpress import TextTypeError


class Word(str):
    """As markup libraries have them."""


class Choice(StrEnum):
    FIRST = "good film"


class Lines:
    """A sequence that is none by inheritance."""

    def __init__(self, *texts: object) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, place: int) -> object:
        return self._texts[place]


class Table(Lines):
    """Two dimensions: iterating it gives columns."""

    ndim = 2


Two = namedtuple("Two", "first second")

SEQUENCES: dict[str, Callable[[onnxpress.Classifier, Any], object]] = {
    "call": lambda clf, x: clf(x),
    "top_k": lambda clf, x: clf(x, top_k=1),
    "logits": lambda clf, x: clf.logits(x),
    "probabilities": lambda clf, x: clf.probabilities(x),
    "accepted": lambda clf, x: clf.accepted(x),
    "count_tokens": lambda clf, x: clf.count_tokens(x),
    "rejected": lambda clf, x: clf.rejected(x),
    "encode": lambda clf, x: clf.encode(x),
    "stream": lambda clf, x: list(clf.stream(x)),
    "stream_probabilities": lambda clf, x: list(clf.stream_probabilities([x])),
}
RUNNING = sorted(set(SEQUENCES) - {"rejected"})  # which tells of a bad text, and does not raise it


async def ask(clf: onnxpress.Classifier, text: Any) -> object:
    async with onnxpress.AsyncClassifier(clf) as service:
        return await service.classify(text)


def submit(clf: onnxpress.Classifier, text: Any) -> object:
    with onnxpress.ThreadedClassifier(clf) as service:
        return service.submit(text).result()


def classify(clf: onnxpress.Classifier, text: Any) -> object:
    with onnxpress.ThreadedClassifier(clf) as service:
        return service.classify(text)


SERVICES: dict[str, Callable[[onnxpress.Classifier, Any], object]] = {
    "async": lambda clf, x: asyncio.run(ask(clf, x)),
    "threaded": classify,
    "submitted": submit,
}


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Iterator[onnxpress.Classifier]:
    with onnxpress.load(artifact, threads=1, spinning=False) as opened:
        yield opened


NEITHER = {
    "None": lambda: None,
    "a number": lambda: 3,
    "a float": lambda: 0.5,
    "a bool": lambda: True,
    "bytes": lambda: b"good",
    "a bytearray": lambda: bytearray(b"good"),
    "a memoryview": lambda: memoryview(b"good"),
    "a set": lambda: {"good", "bad"},
    "a frozenset": lambda: frozenset(("good", "bad")),
    "keys": lambda: {"good": 1}.keys(),
    "a table": lambda: Table("good", "bad"),
    "an array of no dimension": lambda: np.array("good"),
    "an array of two dimensions": lambda: np.array([["good", "bad"]]),
    "other keys": lambda: {"sentence": "good"},
    "more keys": lambda: {"text": "good", "text_pair": "bad", "label": "x"},
    "half a pair": lambda: {"text_pair": "bad"},
    "no keys": dict,
    "a list for a text": lambda: {"text": ["good", "bad"]},
    "None for a pair's text": lambda: {"text": "good", "text_pair": None},
    "one alone in a tuple": lambda: ("good",),
    "three in a tuple": lambda: ("good", "bad", "dull"),
    "an empty tuple": tuple,
    "a pair of bytes": lambda: (b"good", b"bad"),
    "a class": lambda: str,
}


@pytest.mark.parametrize("method", SEQUENCES)
@pytest.mark.parametrize("form", NEITHER)
def test_what_is_neither_a_text_nor_a_sequence_is_refused(
    classifier: onnxpress.Classifier, form: str, method: str
) -> None:
    with pytest.raises(TextTypeError) as caught:
        SEQUENCES[method](classifier, NEITHER[form]())
    assert caught.value.index == 0 and "\n" not in str(caught.value)
    assert "a pair a tuple of two str" in str(caught.value)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("form", [*NEITHER, "an iterator"])
def test_services_refuse_it_too(classifier: onnxpress.Classifier, form: str, service: str) -> None:
    forms = {**NEITHER, "an iterator": lambda: iter(["good"])}
    with pytest.raises(TextTypeError) as caught:
        SERVICES[service](classifier, forms[form]())
    assert caught.value.index == 0


@pytest.mark.parametrize("method", sorted(set(SEQUENCES) - {"call", "top_k"}))
@pytest.mark.parametrize(
    "lone", ["good film", ("good", "film"), {"text": "good", "text_pair": "film"}, np.str_("good")]
)
def test_a_lone_text_is_no_sequence(classifier: onnxpress.Classifier, lone: object, method: str) -> None:
    with pytest.raises(TextTypeError, match=r"text 0 is no (sequence|iterable) of texts, but"):
        SEQUENCES[method](classifier, lone)


@pytest.mark.parametrize("method", sorted(set(SEQUENCES) - {"stream"}))
@pytest.mark.parametrize("make", [lambda: (t for t in ("good", "bad")), lambda: map(str, "ab"), lambda: iter(["a"])])
def test_an_iterator_is_no_sequence_but_a_stream(
    classifier: onnxpress.Classifier, make: Callable[[], Iterator[str]], method: str
) -> None:
    with pytest.raises(TextTypeError, match="no sequence of texts, but of type"):
        SEQUENCES[method](classifier, make())
    assert len(list(classifier.stream(make()))) == len(list(make()))


@pytest.mark.parametrize("chunks", ["good", b"good", {"text": "good"}, {"a", "b"}, None, 3, ("good", "bad")])
def test_chunks_are_no_text(classifier: onnxpress.Classifier, chunks: Any) -> None:
    with pytest.raises(TextTypeError, match="text 0 is no iterable of texts"):
        classifier.stream_probabilities(chunks)


@pytest.mark.parametrize("method", RUNNING)
@pytest.mark.parametrize(
    "bad", [None, 3, b"good", ["good", "bad"], {"text": "good"}, {"a"}, ("a",), ("a", None), np.array(["a"])]
)
def test_a_bad_text_among_good_ones_is_named(classifier: onnxpress.Classifier, bad: object, method: str) -> None:
    with pytest.raises(TextTypeError, match=r"text 2 is ") as caught:
        SEQUENCES[method](classifier, ["good", ("a", "b"), bad, None])
    assert caught.value.index == 2
    assert [problem.index for problem in classifier.rejected(["good", ("a", "b"), bad, None])] == [2, 3]


@pytest.mark.parametrize(
    "pair",
    [
        {"text": "good film", "text_pair": "very sad plot"},
        {"text_pair": "very sad plot", "text": "good film"},
        OrderedDict(text="good film", text_pair="very sad plot"),
        MappingProxyType({"text": "good film", "text_pair": "very sad plot"}),
        Two("good film", "very sad plot"),
        (np.str_("good film"), Word("very sad plot")),
    ],
)
def test_a_lone_pair_in_any_of_its_forms_is_one(classifier: onnxpress.Classifier, pair: Any) -> None:
    wanted = classifier(("good film", "very sad plot"))
    assert classifier(pair) == wanted and wanted != classifier("good film")
    assert classifier(pair, top_k=2)[0] == wanted
    for ask_service in (SERVICES["async"], SERVICES["threaded"]):
        found = ask_service(classifier, pair)
        assert found.label == wanted.label and found.score == pytest.approx(wanted.score, abs=1e-5)  # type: ignore[attr-defined]


def test_a_mapping_of_one_text_is_that_text(classifier: onnxpress.Classifier) -> None:
    assert classifier({"text": "good film"}) == classifier("good film")


@pytest.mark.parametrize(
    "texts",
    [
        UserList(["good film", "bad"]),
        deque(["good film", "bad"]),
        np.array(["good film", "bad"]),
        np.array(["good film", "bad"], dtype=object),
        Lines("good film", "bad"),
        [Word("good film"), np.str_("bad")],
        [Choice.FIRST, "bad"],
    ],
)
@pytest.mark.parametrize("method", RUNNING)
def test_any_sequence_will_do(classifier: onnxpress.Classifier, texts: Any, method: str) -> None:
    found, wanted = (SEQUENCES[method](classifier, given) for given in (texts, ["good film", "bad"]))
    if method == "encode":
        assert found.lengths.tolist() == wanted.lengths.tolist()  # type: ignore[attr-defined]
    else:
        assert np.array_equal(found, wanted)  # type: ignore[arg-type]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
good = st.one_of(texts, st.tuples(texts, texts))
bad = st.one_of(
    st.none(),
    st.integers(),
    st.binary(max_size=5),
    st.lists(texts, max_size=2),
    st.dictionaries(texts, texts, max_size=2),
    st.builds(tuple, st.lists(texts, min_size=3, max_size=4)),
    st.tuples(texts, st.none()),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(items=st.lists(st.one_of(good, bad), max_size=6), method=st.sampled_from(sorted(SEQUENCES)))
def test_every_method_agrees_on_what_a_text_is(classifier: onnxpress.Classifier, items: list[Any], method: str) -> None:
    def is_good(item: object) -> bool:
        parts = item if isinstance(item, tuple) and len(item) == 2 else (item,)
        return all(isinstance(part, str) for part in parts)

    refused = [place for place, item in enumerate(items) if not is_good(item)]
    if method == "rejected":
        assert [problem.index for problem in classifier.rejected(items)] == refused
    elif refused:
        with pytest.raises(TextTypeError) as caught:
            SEQUENCES[method](classifier, items)
        assert caught.value.index == refused[0]
    else:
        found = SEQUENCES[method](classifier, items)
        rows = found.lengths if method == "encode" else found[0] if method == "stream_probabilities" else found  # type: ignore[attr-defined, index]
        assert len(rows) == len(items)


@pytest.mark.parametrize("top_k", [True, 1.0, "2", np.float32(2), [1]])
def test_top_k_is_a_whole_number(classifier: onnxpress.Classifier, top_k: Any) -> None:
    for ask_one in (lambda: classifier("good", top_k=top_k), lambda: classifier([], top_k=top_k)):
        with pytest.raises(onnxpress.ConfigError, match="top_k must be a whole number"):
            ask_one()
    with pytest.raises(onnxpress.ConfigError, match="chunk must be a whole number"):
        classifier.stream(["good"], chunk=top_k)
    assert len(classifier("good", top_k=np.int64(2))) == 2  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"max_characters": None}, "max_characters must be a whole number of at least 1, got None"),
        ({"max_characters": 1e5}, "max_characters must be a whole number of at least 1, got 100000.0"),
        ({"max_texts": None}, "max_texts must be a whole number of at least 1, got None"),
        ({"threads": True}, "threads must be a whole number of at least 1, got True"),
        ({"threads": 1.0}, "threads must be a whole number"),
        ({"workers": "2"}, "workers must be a whole number of at least 1, got '2'"),
        ({"max_tokens": np.float64(64)}, "max_tokens must be a whole number"),
        ({"stride": 0.5}, "stride must be a whole number"),
        ({"affinity": 0}, "affinity must name CPUs by their numbers from 0, got 0"),
        ({"affinity": [0.0]}, "a CPU of affinity must be a whole number of at least 0, got 0.0"),
        ({"affinity": [True]}, "a CPU of affinity must be a whole number"),
        ({"affinity": "0"}, "a CPU of affinity must be a whole number of at least 0, got '0'"),
        ({"affinity": [-1]}, "a CPU of affinity must be at least 0, got -1"),
        ({"spinning": "no"}, "spinning must be a bool, got 'no'"),
        ({"device": None}, "device must be a str, got None"),
        ({"precision": 8}, "precision must be a str, got 8"),
        ({"optimize_for": None}, "optimize_for must be latency or throughput, got None"),
        ({"long_text": True}, "long_text must be truncate or windows or error, got True"),
        ({"cuda": {"tf32": True}}, "cuda must be a CudaSettings"),
    ],
)
def test_settings_of_another_kind_are_refused(artifact: Path, setting: dict[str, Any], says: str) -> None:
    with pytest.raises(onnxpress.ConfigError) as caught:
        onnxpress.load(artifact, **setting)
    assert says in str(caught.value)


@pytest.mark.parametrize("path", [None, 3, b"artifact", ["artifact"]])
def test_an_artifact_is_named_by_a_path(path: Any) -> None:
    with pytest.raises(onnxpress.ConfigError, match="named by a str or a path"):
        onnxpress.load(path)


def test_settings_of_cuda_are_checked() -> None:
    with pytest.raises(onnxpress.ConfigError, match="tf32 must be a bool, got 1"):
        onnxpress.CudaSettings(tf32=1)  # type: ignore[arg-type]
    with pytest.raises(onnxpress.ConfigError, match=r"memory_limit .* got 1.5"):
        onnxpress.CudaSettings(memory_limit=1.5)  # type: ignore[arg-type]
