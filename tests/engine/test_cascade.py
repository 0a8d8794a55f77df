from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxpress.answers.fidelity import Decision
from onnxpress.inputs.encoder import TokenRows
from onnxpress.running.cascade import Cascade, Stage
from onnxpress.running.planner import Bucket, plan_batches
from onnxpress.running.workers import Workers
from onnxpress.tasks.text_classification import TextClassification

SOFTMAX = Decision("softmax")


class Graph:
    """A runner whose logits are a function of a row's length, and which remembers what it was asked to run."""

    def __init__(self, margins: dict[int, float], sign: float = 1.0) -> None:
        self.margins, self.sign, self.batches = margins, sign, []

    def plan(self, lengths: NDArray[np.int64], workers: int) -> list[Bucket]:
        batches = plan_batches(lengths, max_tokens=64, workers=workers)
        return [Bucket(rows, len(rows), int(lengths[rows[0]])) for rows in batches]

    def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
        lengths = rows.lengths[bucket.rows].tolist()
        self.batches.append(lengths)
        return np.array([[self.sign * self.margins[length], 0.0] for length in lengths], dtype=np.float32)


def rows_of(lengths: list[int], starts: list[int] | None = None) -> TokenRows:
    return TokenRows([None] * len(lengths), np.array(lengths), None if starts is None else np.array(starts))


def cascade(*stages: tuple[str, Graph, float], decision: Decision = SOFTMAX, pooling: str = "mean") -> Cascade:
    made = [Stage(name=name, runner=graph, leaves_at=limit) for name, graph, limit in stages]
    return Cascade(made, TextClassification(decision, 2, pooling))


SURE = {3: 5.0, 4: 0.1, 5: -4.0, 6: -0.2, 7: 1.0}
"""Margins by length; those of 4 and 6 tokens are close calls, that of 7 lies at the threshold of the tests."""


def test_only_texts_whose_margin_is_below_the_threshold_go_on() -> None:
    quick, exact = Graph(SURE), Graph(SURE, sign=-1.0)
    both = cascade(("int8", quick, 1.0), ("fp32", exact, 0.0))
    logits = both.begin(rows_of([3, 4, 5, 6, 7]), None, 1).result()
    assert logits[:, 0].tolist() == pytest.approx([5.0, -0.1, -4.0, 0.2, 1.0])
    assert sorted(chain.from_iterable(exact.batches)) == [4, 6]
    assert both.answered == {"int8": 3, "fp32": 2}


def test_texts_that_go_on_share_batches_of_their_length() -> None:
    exact = Graph(SURE)
    cascade(("int8", Graph(SURE), 1.0), ("fp32", exact, 0.0)).begin(rows_of([4, 3, 6, 4, 3, 6, 4]), None, 1).result()
    assert sorted(exact.batches) == [[4, 4, 4], [6, 6]]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_answer_does_not_depend_on_company_or_order(workers: int) -> None:
    generator = np.random.default_rng(4)
    lengths = generator.choice(list(SURE), 60).tolist()
    pool = Workers(workers) if workers else None
    both = cascade(("int8", Graph(SURE), 1.0), ("fp32", Graph(SURE, sign=-1.0), 0.0))
    together = both.begin(rows_of(lengths), pool, 2).result()
    alone = np.concatenate([both.begin(rows_of([length]), pool, 2).result() for length in lengths])
    backwards = both.begin(rows_of(lengths[::-1]), pool, 2).result()[::-1]
    if pool:
        pool.shutdown()
    assert together.tobytes() == alone.tobytes() == backwards.tobytes()


def test_three_stages_each_see_what_the_one_before_was_not_sure_of() -> None:
    first, quick, exact = Graph({3: 9.0, 4: 1.0, 5: 1.0}), Graph({4: 2.0, 5: 0.1}), Graph({5: 7.0})
    three = cascade(("first", first, 4.0), ("int8", quick, 1.0), ("fp32", exact, 0.0))
    logits = three.begin(rows_of([5, 3, 4, 5]), None, 1).result()
    assert logits[:, 0].tolist() == [7.0, 9.0, 2.0, 7.0]
    assert (sorted(chain.from_iterable(quick.batches)), exact.batches) == ([4, 5, 5], [[5, 5]])
    assert three.answered == {"first": 1, "int8": 1, "fp32": 2}


def test_the_last_stage_answers_whatever_its_threshold() -> None:
    only = cascade(("fp32", Graph(SURE), 100.0))
    assert only.stages[-1].leaves_at == -math.inf
    assert only.begin(rows_of([4]), None, 1).result()[0, 0] == pytest.approx(0.1)


def test_a_text_of_several_windows_goes_on_whole_or_not_at_all() -> None:
    """Windows of 3 and 4 tokens are sure of their mean; those of 6 and 4 are not, and all of theirs run again."""
    exact = Graph(SURE, sign=-1.0)
    both = cascade(("int8", Graph(SURE), 1.0), ("fp32", exact, 0.0))
    logits = both.begin(rows_of([3, 4, 6, 4, 5], starts=[0, 2, 4]), None, 1).result()
    assert logits[:, 0].tolist() == pytest.approx([2.55, 0.05, -4.0])
    assert sorted(chain.from_iterable(exact.batches)) == [4, 6]


def test_logits_that_are_not_numbers_never_pass_as_sure() -> None:
    both = cascade(("int8", Graph({3: math.nan}), 1.0), ("fp32", Graph({3: 2.0}), 0.0))
    assert both.begin(rows_of([3]), None, 1).result()[0, 0] == 2.0


def test_what_a_stage_raises_is_raised_and_nothing_else_begins() -> None:
    class Broken(Graph):
        def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
            raise OSError("gone")

    pool = Workers(2)
    running = cascade(("int8", Graph(SURE), 1.0), ("fp32", Broken(SURE), 0.0)).begin(rows_of([4, 6, 6]), pool, 2)
    with pytest.raises(OSError, match="gone"):
        running.result()
    pool.shutdown()
