"""What is true of every task: each goes through all of it."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

import onnxpress
from tests.conftest import MAX_LENGTH, WORDS
from tests.tasks.subjects import Subject, equal

LONG = " ".join(np.random.default_rng(4).choice(WORDS, 3 * MAX_LENGTH))


def test_load_gives_what_the_task_says(subject: Subject, model: Any) -> None:
    assert type(model) is subject.kind
    name = onnxpress.artifacts.artifact.read_manifest(subject.artifact).task  # type: ignore[attr-defined]
    with subject.load(task=name) as opened:
        assert type(opened) is subject.kind
    other = {"text-classification": "token-classification"}.get(name, "text-classification")
    with pytest.raises(onnxpress.ConfigError, match=f"is an artifact for {name}, not for {other}"):
        subject.load(task=other)
    with pytest.raises(
        onnxpress.ConfigError, match="task must be text-classification or token-classification, got 'x'"
    ):
        subject.load(task="x")


def test_one_text_and_several(subject: Subject, model: Any, some: list[str]) -> None:
    together = model(some)
    assert type(together) is list and len(together) == len(some)
    assert all(equal(model(text), answer) for text, answer in zip(some[-8:], together[-8:], strict=True))
    assert equal(model(deque(["a film", "bad", "good"])), model(["a film", "bad", "good"]))
    for alone, listed in subject.lone:
        assert equal(model(alone), model([listed])[0])


def test_no_texts(model: Any) -> None:
    assert model([]) == [] and len(model.logits([])) == 0 and list(model.stream([])) == []


def test_an_answer_depends_neither_on_order_nor_on_company(subject: Subject, model: Any, some: list[str]) -> None:
    for one in (model, model.mixed()):
        together = list(one.logits(some))
        assert equal(list(one.logits(some[::-1]))[::-1], together)
        assert equal([one.logits([text])[0] for text in some], together)
        assert all(logits.dtype == np.float32 for logits in together)
    with subject.load(threads=1) as alone:
        assert equal(list(alone.logits(some)), list(model.logits(some)))


def test_what_services_run_differs_by_rounding_alone(model: Any, some: list[str]) -> None:
    for found, wanted in zip(model.mixed().logits(some), model.logits(some), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)  # fp32 sums in another order over two layers


def test_equal_texts_have_equal_answers_and_run_once(subject: Subject) -> None:
    with subject.load(threads=1) as opened:
        found = opened(["good film", "a dull plot", "good film", "good film"])
        assert equal(found[0], found[2]) and equal(found[0], found[3]) and equal(found[1], opened("a dull plot"))
        assert sum(opened.answered.values()) == 3


def test_it_is_pickled_by_its_artifact(model: Any, some: list[str]) -> None:
    copied = pickle.loads(pickle.dumps(model))
    with copied:
        assert type(copied) is type(model) and equal(copied(some), model(some))


def test_after_its_end_it_tells_that(subject: Subject) -> None:
    opened = subject.load(threads=1)
    mixed, begun = opened.mixed(), opened.stream(iter(["good film"] * 3), chunk=1)
    next(begun)
    opened.close()
    opened.close()
    for use in (lambda: opened("a"), lambda: opened.logits(["a"]), lambda: mixed("a"), lambda: next(begun)):
        with pytest.raises(onnxpress.ClosedError):
            use()


def test_a_stream_answers_as_calls_do(model: Any, some: list[str]) -> None:
    wanted = model(some)
    for chunk in (None, 1, 7):
        assert equal(list(model.stream(iter(some), chunk=chunk)), wanted)
    read: list[str] = []

    def endless() -> Iterator[str]:
        while True:
            read.append("good film")
            yield read[-1]

    first = next(model.stream(endless(), chunk=4))
    assert equal(first, model("good film")) and len(read) <= 8
    with pytest.raises(onnxpress.TextError, match="text 5 "):
        list(model.stream([*some[:5], "\ud800", *some[5:]], chunk=2))


def test_services_answer_as_calls_do(subject: Subject, model: Any, some: list[str]) -> None:
    wanted = model.mixed()(some)

    async def ask() -> Any:
        async with subject.asynchronous(model) as service:
            one_by_one = await asyncio.gather(*(getattr(service, subject.ask)(text) for text in some))
            return one_by_one, await getattr(service, subject.ask)(some), await service.logits(some), service.metrics()

    one_by_one, together, logits, metrics = asyncio.run(ask())
    assert (
        equal(one_by_one, wanted) and equal(together, wanted) and equal(list(logits), list(model.mixed().logits(some)))
    )
    assert metrics.requests["answered"] == metrics.answers.margins.count == 3 * len(some)
    assert sum(metrics.answers.stages.values()) == metrics.answers.scores.count == 3 * len(some)
    with subject.threaded(model) as service, ThreadPoolExecutor(8) as pool:
        assert equal(list(pool.map(getattr(service, subject.ask), some)), wanted)
        assert equal(service.submit("good film").result(), model.mixed().logits(["good film"])[0])
        with pytest.raises(onnxpress.TextTypeError):
            getattr(service, subject.ask)(7)
    with pytest.raises(onnxpress.ClosedError):
        getattr(service, subject.ask)("a")


def test_a_long_text_is_cut_read_in_windows_or_refused(subject: Subject, some: list[str]) -> None:
    with subject.load(threads=1) as opened:
        words = LONG.split()
        assert equal(opened(LONG), opened(" ".join(words[: MAX_LENGTH - 2])))
        short = opened(some[:9])
    with subject.load(threads=2, optimize_for="throughput", long_text="windows", stride=20) as opened:
        found = opened([*some[:5], LONG, *some[5:9], LONG])
        assert equal([*found[:5], *found[6:10]], short) and equal(found[5], found[10])
        assert equal(opened(LONG), found[5]) and not equal(opened(LONG), short[0])
        assert equal([opened.logits([text])[0] for text in ("a", LONG)], list(opened.logits(["a", LONG])))
        with subject.threaded(opened) as service:
            assert equal(getattr(service, subject.ask)(["a", LONG]), opened.mixed()(["a", LONG]))
            assert service.metrics().answers.in_windows == 1
    with (
        subject.load(threads=1, long_text="error") as opened,
        pytest.raises(onnxpress.TooManyTokensError, match="text 1"),
    ):
        opened(["a", LONG])


@pytest.mark.parametrize(
    "wrong", [None, 7, b"bytes", {"a", "b"}, ["a", 7], ["a", None], [["a"]], {"other": "a"}, (1, 2), iter(["a"]), [{}]]
)
def test_what_is_no_text_is_told(model: Any, wrong: object) -> None:
    with pytest.raises(onnxpress.TextTypeError) as told:
        model(wrong)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "error"), [("\ud800", onnxpress.TextEncodingError), ("a" * 100_001, onnxpress.TextTooLongError)]
)
def test_what_cannot_be_read_is_told_by_its_place(model: Any, text: str, error: type) -> None:
    with pytest.raises(error, match=r"^text 2 "):
        model(["a", "b", text, "c"])
    (found,) = model.rejected(["a", "b", text, "c"])
    assert isinstance(found, error) and found.index == 2


def plain(answer: Any) -> list[Any]:
    """An answer in the members that scoring writes."""
    if isinstance(answer, onnxpress.Prediction):
        return [answer.label, answer.score]
    return [[{name: getattr(entity, name) for name in ("label", "score", "start", "end", "text")} for entity in answer]]


def close_to(found: Any, wanted: Any) -> bool:
    """Equal, scores as float32 holds them."""
    if isinstance(wanted, float):
        return np.float32(found) == np.float32(wanted)
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(close_to(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(close_to, found, wanted))
    return bool(found == wanted)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv", "tsv"])
def test_scoring_writes_its_columns(kind: str, subject: Subject, model: Any, some: list[str], tmp_path: Path) -> None:
    texts = [text for text in some if text and "\n" not in text]
    rows = [*texts[:9], None, *texts[9:]]
    source, output = tmp_path / "in.jsonl", tmp_path / f"out.{kind}"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    settings = {} if kind != "tsv" else {"quoted_tsv": True}
    summary = onnxpress.score(subject.artifact, source, output, on_bad_row="null", threads=2, **settings)
    assert (summary.rows, summary.rejected) == (len(rows), 1) and tuple(summary.columns) == subject.columns
    if kind == "parquet":
        found = pyarrow.parquet.read_table(output).to_pylist()
    elif kind == "jsonl":
        found = [json.loads(line) for line in output.read_text().splitlines()]
    else:
        options = pyarrow.csv.ParseOptions(delimiter="," if kind == "csv" else "\t", newlines_in_values=True)
        found = pyarrow.csv.read_csv(output, parse_options=options).to_pylist()
        if subject.columns == ("entities",):
            for row in found:
                row["entities"] = json.loads(row["entities"]) if row["entities"] else None
    assert [row["text"] or None for row in found] == rows
    for row, text in zip(found, rows, strict=True):
        values = [row[name] or None for name in subject.columns] if text is None else [row[n] for n in subject.columns]
        assert close_to(values, [None] * len(values) if text is None else plain(model(text)))
