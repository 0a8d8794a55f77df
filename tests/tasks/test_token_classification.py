"""Labels of tokens in the engine: vectors, margins, what goes on to fp32, and each runner."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress.answers.answered import Answered
from onnxpress.inputs.encoder import TokenIds, TokenPlaces, TokenRows
from onnxpress.running.cascade import Cascade, Stage
from onnxpress.running.planner import Bucket, plan_batches
from onnxpress.running.runner import PaddedBuckets
from onnxpress.running.workers import Workers
from onnxpress.sessions.session import Session
from onnxpress.tasks.token_classification import TokenClassification
from tests.conftest import MAX_LENGTH, TOKEN_LABELS, edit_json

TASK = TokenClassification(2)


def rows_of(*texts: list[list[float]]) -> TokenRows:
    """Texts of rows of tokens, whose margins these are in thousandths as ids; the first and the last are added."""
    rows = []
    for row in chain.from_iterable(texts):
        added = np.zeros(len(row), dtype=np.bool_)
        added[[0, -1]] = True
        ids = np.round(np.array(row) * 1000).astype(np.int32)
        rows.append(TokenIds(ids, None, TokenPlaces(np.zeros((len(row), 2), dtype=np.int32), added)))
    starts = np.cumsum([0, *(len(text) for text in texts)])[:-1]
    lengths = np.array([len(row) for row in rows])
    return TokenRows(rows, lengths, starts if len(rows) > len(texts) else None)


class Graph:
    """A runner whose tokens have the margins that their ids name, times `sign`."""

    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign
        self.ran: list[list[int]] = []

    def plan(self, lengths: NDArray[np.int64], workers: int) -> list[Bucket]:
        batches = plan_batches(lengths, max_tokens=16, workers=workers)
        return [Bucket(rows, len(rows), int(lengths[rows[0]])) for rows in batches]

    def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
        self.ran.append(bucket.rows.tolist())
        ids = np.concatenate([rows.encodings[int(row)].ids for row in bucket.rows])
        return np.stack([self.sign * ids / 1000, np.zeros(len(ids))], axis=1).astype(np.float32)


def cascade(quick: Graph, exact: Graph, limit: float) -> Cascade:
    return Cascade([Stage(name="int8", runner=quick, leaves_at=limit), Stage(name="fp32", runner=exact)], TASK)  # type: ignore[arg-type]


SURE, UNSURE, ENDS = [9, 3, -2, 9], [9, 3, 0.5, -4, 9], [0.1, 5, 0.1]
"""Margins of rows; of the last one, those of what the tokenizer added are small, which decides nothing."""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_text_goes_on_when_any_of_its_tokens_is_unsure(workers: int) -> None:
    quick, exact = Graph(), Graph(-1.0)
    rows = rows_of([SURE], [UNSURE], [ENDS], [UNSURE, SURE], [SURE, ENDS])
    both = cascade(quick, exact, 1.0)
    pool = Workers(workers) if workers else None
    answered = both.begin(rows, pool, 2).answered()
    if pool:
        pool.shutdown()
    assert answered.stages.tolist() == [0, 1, 0, 1, 0] and both.answered == {"int8": 3, "fp32": 2}
    assert sorted(chain.from_iterable(exact.ran)) == [1, 3, 4]
    wanted = [SURE, [-x for x in UNSURE], ENDS, [-x for x in [*UNSURE, *SURE]], [*SURE, *ENDS]]
    assert [each[:, 0].tolist() for each in answered.each()] == [pytest.approx(text) for text in wanted]


def test_an_answer_does_not_depend_on_company() -> None:
    texts = [[SURE], [UNSURE], [ENDS, SURE], [UNSURE, UNSURE]] * 5
    together = cascade(Graph(), Graph(-1.0), 1.0).begin(rows_of(*texts), None, 1).answered()
    for text, found in zip(texts, together.each(), strict=True):
        alone = cascade(Graph(), Graph(-1.0), 1.0).begin(rows_of(text), None, 1).answered()
        assert alone.logits.tobytes() == found.tobytes()


def test_margins_are_those_of_the_least_sure_token() -> None:
    rows = rows_of([SURE], [UNSURE, SURE], [[0.1, 0.1]], [ENDS])
    logits = Graph().run(rows, Bucket(np.arange(5), 5, 1))
    assert TASK.margins(logits, rows, np.arange(4)).tolist() == pytest.approx([2, 0.5, np.inf, 5])
    assert TASK.margins(logits[-3:], rows, np.array([3])).tolist() == pytest.approx([5])
    assert TASK.margins(logits[:0], rows, np.array([], dtype=np.intp)).tolist() == []
    logits[0] = np.nan  # of a token that decides nothing: the text is sure of nothing all the same
    assert TASK.margins(logits, rows, np.arange(4))[0] == 0


def test_what_is_seen_is_each_tokens_label_and_each_texts_least_sure_token() -> None:
    rows = rows_of([SURE], [UNSURE, SURE], [[0.1, 0.1]])
    logits = Graph().run(rows, Bucket(np.arange(4), 4, 1))
    bounds = TASK.text_bounds(rows)
    one = Answered(logits, np.zeros(3, dtype=np.uint8), rows, bounds=bounds)
    for parts in ([one], [one.only([0]), one.only([1, 2])]):
        seen = TASK.seen(parts)
        assert seen.best is not None and np.bincount(seen.best).tolist() == [4, 3]
        assert seen.margins is not None and seen.margins.tolist() == pytest.approx([2, 0.5, np.inf])
        assert seen.scores[0].tolist() == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-0.5)), 1])


def test_logits_that_are_not_finite_name_their_text() -> None:
    class Broken(Graph):
        def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
            logits = super().run(rows, bucket)
            if 2 in bucket.rows:
                logits[-1] = np.nan
            return logits

    only = Cascade([Stage(name="fp32", runner=Broken())], TASK)  # type: ignore[arg-type]
    with pytest.raises(onnxpress.RunError, match="text 1 "):
        only.begin(rows_of([SURE], [UNSURE, ENDS]), None, 1).answered()


def test_every_runner_gives_each_tokens_vector(token_artifact: Path, some: list[str]) -> None:
    session = Session(
        (token_artifact / "model.onnx").read_bytes(), token_artifact, device="cpu", threads=1, spinning=False
    )
    assert (session.output_rank, session.label_count) == (3, len(TOKEN_LABELS))
    padded = PaddedBuckets(session, max_tokens=1_024, max_length=MAX_LENGTH, padding=0)
    with onnxpress.load(token_artifact, task="token-classification") as tagger:
        rows = tagger.encode(some)
        wanted = tagger.logits(some)
        for bucket in padded.plan(rows.lengths, 1):
            found = padded.run(rows, bucket)
            # fp32 sums in another order over two layers, logits of order 1
            np.testing.assert_allclose(found, np.concatenate([wanted[row] for row in bucket.rows]), rtol=0, atol=2e-5)
        assert [len(logits) for logits in wanted] == rows.lengths.tolist() == tagger.count_tokens(some).tolist()


def test_an_artifact_whose_graph_is_of_another_task_is_refused(
    artifact: Path, token_artifact: Path, tmp_path: Path
) -> None:
    import shutil

    for number, (path, task) in enumerate(
        [(artifact, "token-classification"), (token_artifact, "text-classification")]
    ):
        copied = Path(shutil.copytree(path, tmp_path / str(number)))
        edit_json(copied / "onnxpress.json", lambda manifest, task=task: manifest.update(task=task))  # type: ignore[misc]
        with pytest.raises(onnxpress.ArtifactIntegrityError, match=f"its manifest is for {task}, its graph gives"):
            onnxpress.load(copied)
