"""The first stage's file, and its arithmetic."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxpress.answers.fidelity import Decision
from onnxpress.inputs.encoder import TokenIds, TokenRows
from onnxpress.running.cascade import Cascade, Stage
from onnxpress.running.first_stage import MOST_BYTES, FirstStage, Tables, features_of, read_tables, write_tables
from onnxpress.running.planner import Bucket
from onnxpress.tasks.text_classification import TextClassification

LABELS = 5


def tables(tokens: int = 50, pairs: int = 64, width: int = 8, labels: int = LABELS) -> Tables:
    generator = np.random.default_rng(3)
    return Tables(
        tokens=generator.integers(-127, 128, (tokens, width), dtype=np.int8),
        pairs=generator.integers(-127, 128, (pairs, width), dtype=np.int8),
        weights=generator.integers(-32_767, 32_768, (width, labels), dtype=np.int16),
        scales=generator.uniform(1e-7, 1e-6, labels).astype(np.float32),
        bias=generator.normal(size=labels).astype(np.float32),
    )


@pytest.fixture(scope="module")
def texts() -> list[NDArray[np.int32]]:
    """Token ids of texts of 1 to 300 tokens; some ids lie beyond the table."""
    generator = np.random.default_rng(4)
    return [generator.integers(0, 90, length).astype(np.int32) for length in generator.integers(1, 301, 90)]


def rows_of(texts: list[NDArray[np.int32]]) -> TokenRows:
    return TokenRows([TokenIds(ids) for ids in texts], np.array([len(ids) for ids in texts]))


def test_the_file_holds_what_was_written_and_the_same_bytes_each_time() -> None:
    content = write_tables(tables())
    found = read_tables(content, labels=LABELS)
    for name in ("tokens", "pairs", "weights", "scales", "bias"):
        assert getattr(found, name).tobytes() == getattr(tables(), name).tobytes()
    assert write_tables(found) == content


def test_logits_are_the_mean_of_the_rows_times_the_weights(texts: list[NDArray[np.int32]]) -> None:
    """In floating point, one text and one feature at a time; the mean's 20 bits round by at most 2 ** -13."""
    known = tables()
    found = FirstStage(known).logits(texts)
    for ids, logits in zip(texts, found, strict=True):
        of_tokens, of_pairs = features_of(ids, np.array([len(ids)]), tokens=50, pairs=64)
        mean = (known.tokens[of_tokens].sum(0, dtype=float) + known.pairs[of_pairs].sum(0, dtype=float)) / 2 / len(ids)
        wanted = mean @ known.weights * known.scales + known.bias
        bound = 2**-13 * np.abs(known.weights.astype(float)).sum(0) * known.scales + 1e-6 * np.abs(wanted) + 1e-6
        assert (np.abs(logits - wanted) <= bound).all()


@pytest.mark.parametrize("labels", [1, 2, 150])
def test_no_bit_depends_on_company_or_order(texts: list[NDArray[np.int32]], labels: int) -> None:
    stage = FirstStage(tables(width=64, labels=labels))
    together = stage.logits(texts)
    assert together.tobytes() == np.concatenate([stage.logits([ids]) for ids in texts]).tobytes()
    assert together.tobytes() == stage.logits(texts[::-1])[::-1].tobytes()
    order = np.random.default_rng(1).permutation(len(texts))
    assert together[order].tobytes() == stage.logits([texts[place] for place in order]).tobytes()


def test_a_pair_is_of_one_text_alone() -> None:
    one, other = np.array([7, 8, 9], np.int32), np.array([3], np.int32)
    both = features_of(np.concatenate([one, other]), np.array([3, 1]), tokens=50, pairs=2**16)[1]
    alone = [features_of(ids, np.array([len(ids)]), tokens=50, pairs=2**16)[1] for ids in (one, other)]
    assert both.tolist() == np.concatenate(alone).tolist()
    assert len(set(both.tolist())) == 4


def test_the_order_of_tokens_counts() -> None:
    stage = FirstStage(tables(pairs=2**12))
    forwards, backwards = stage.logits([np.array([1, 2, 3, 4], np.int32), np.array([4, 3, 2, 1], np.int32)])
    assert forwards.tolist() != backwards.tolist()


@pytest.mark.parametrize("lengths", [[1], [8_192, 1], [9_000, 9_000], [5] * 5_000, [4_096, 4_096, 1]])
def test_a_plan_holds_each_row_once_in_batches_of_some_thousand_tokens(lengths: list[int]) -> None:
    plan = FirstStage(tables()).plan(np.array(lengths), 2)
    assert np.concatenate([bucket.rows for bucket in plan]).tolist() == list(range(len(lengths)))
    assert all(len(bucket.rows) == 1 or sum(lengths[row] for row in bucket.rows) <= 8_192 for bucket in plan)


class Session:
    """Stands for a graph behind the first stage."""

    max_tokens = 77

    def plan(self, lengths: NDArray[np.int64], workers: int) -> list[Bucket]:
        return [Bucket(np.arange(len(lengths)), len(lengths), int(lengths.max()))]

    def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
        return np.full((len(bucket.rows), LABELS), 9, dtype=np.float32)


def test_what_it_is_not_sure_of_goes_on_and_services_batch_for_the_stage_with_a_session(
    texts: list[NDArray[np.int32]],
) -> None:
    stage, session, decision = FirstStage(tables()), Session(), Decision("softmax")
    margins = decision.margins(stage.logits(texts))
    limit = float(np.median(margins))
    both = Cascade(
        [Stage(name="first", runner=stage, leaves_at=limit), Stage(name="fp32", runner=session)],
        TextClassification(decision, LABELS),
    )
    assert both.main is session
    logits = both.begin(rows_of(texts), None, 1).result()
    assert ((logits == 9).all(axis=1) == (margins < limit)).all()
    assert both.answered == {"first": int((margins >= limit).sum()), "fp32": int((margins < limit).sum())}


def array(values: object, kind: str, version: tuple[int, int] = (1, 0)) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(values, dtype=kind), version=version)
    return content.getvalue()


GOOD = write_tables(tables())


def with_header(shape: str) -> bytes:
    """The file whose first array says that it has `shape`, as long as the one that it has."""
    old = b"(50, 8)"
    assert GOOD.count(old) == 1
    return GOOD.replace(old, shape.encode()).replace(b" " * (len(shape) - len(old)) + b"\n", b"\n", 1)


BAD: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"first stage",
    "cut": lambda: GOOD[:-1],
    "cut in a header": lambda: GOOD[:40],
    "longer": lambda: GOOD + b"\0",
    "too large": lambda: bytes(MOST_BYTES + 1),
    "a pickle": lambda: b"\x80\x04N.",
    "an array of objects": lambda: GOOD.replace(b"'|i1'", b"'|O' ", 1),
    "of another type": lambda: array([[0.0] * 8] * 50, "<f8") + GOOD,
    "of another version": lambda: array([[1] * 8] * 50, "<i1", (2, 0)) + GOOD,
    "by column": lambda: GOOD.replace(b"False", b"True ", 1),
    "of a negative extent": lambda: with_header("(-5, 8)"),
    "of more than there is": lambda: with_header("(99999999999, 99999999999)"),
    "a header that is code": lambda: GOOD.replace(b"{'descr'", b"(lambda:", 1),
    "no rows": lambda: array(np.zeros((0, 8)), "<i1") + GOOD[528:],
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_such_file_is_refused(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_tables(BAD[name](), labels=LABELS)
    assert str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bias": np.array([1, 2, 3, 4, np.nan], np.float32)}, "bias must be 5 finite numbers"),
        ({"scales": np.array([1, 2, 3, 4, np.inf], np.float32)}, "scales must be 5 finite numbers"),
        ({"bias": np.zeros(4, np.float32)}, "bias must be 5"),
        ({"tokens": np.zeros((50, 7), np.int8)}, "do not fit"),
        ({"pairs": np.zeros((0, 8), np.int8)}, "pairs must be int8 of 2 dimensions"),
        ({"weights": np.zeros((8, 5), np.float32)}, "weights must be int16"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changes: dict[str, NDArray[np.generic]], says: str) -> None:
    known = tables()
    parts = {name: getattr(known, name) for name in ("tokens", "pairs", "weights", "scales", "bias")}
    with pytest.raises(ValueError, match=says):
        Tables(**{**parts, **changes})  # type: ignore[arg-type]


def test_tables_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="answers with 5 labels, the model with 2"):
        read_tables(GOOD, labels=2)


def test_a_file_is_never_larger_than_what_is_read() -> None:
    with pytest.raises(ValueError, match="at most 16,777,216"):
        write_tables(tables(tokens=2**18, width=64))
