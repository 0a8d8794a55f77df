from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onnxpress.planner import bucket_widths, plan_batches, plan_buckets

lengths_of_texts = st.lists(st.integers(1, 40), max_size=200).map(lambda lengths: np.array(lengths, dtype=np.int64))


@given(lengths_of_texts, st.integers(1, 300), st.integers(1, 8))
def test_each_text_runs_once_with_its_equals_and_within_the_budget(
    lengths: np.ndarray, max_tokens: int, workers: int
) -> None:
    batches = plan_batches(lengths, max_tokens=max_tokens, workers=workers)
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for batch in batches:
        assert len(set(lengths[batch])) == 1
        assert len(batch) == 1 or lengths[batch].sum() <= max_tokens
    sizes = [lengths[batch].sum() for batch in batches]
    assert sizes == sorted(sizes, reverse=True)


def test_no_texts_make_no_batch() -> None:
    assert plan_batches(np.array([], dtype=np.int64), max_tokens=10) == []


def test_equal_texts_fill_batches() -> None:
    batches = plan_batches(np.full(10, 8), max_tokens=32)
    assert [len(batch) for batch in batches] == [4, 4, 2]


def test_a_small_call_is_spread_over_the_workers() -> None:
    assert [len(batch) for batch in plan_batches(np.full(8, 10), max_tokens=1_000, workers=2)] == [4, 4]
    assert [len(batch) for batch in plan_batches(np.full(8, 10), max_tokens=1_000, workers=1)] == [8]


def test_a_text_over_the_budget_runs_alone() -> None:
    assert [batch.tolist() for batch in plan_batches(np.array([50, 3, 50]), max_tokens=20)] == [[0], [2], [1]]


def test_widths_reach_the_longest_text() -> None:
    assert bucket_widths(512) == [*range(8, 65, 8), *range(96, 257, 32), 384, 512]
    assert bucket_widths(20) == [8, 16, 20] and bucket_widths(5) == [5] and bucket_widths(64)[-1] == 64


@given(st.lists(st.integers(1, 140), max_size=200), st.integers(1, 2_000))
def test_buckets_hold_each_text_once_and_keep_the_budget(lengths: list[int], max_tokens: int) -> None:
    widths = bucket_widths(140)
    buckets = plan_buckets(np.array(lengths, dtype=np.int64), widths, max_tokens=max_tokens)
    assert sorted(row for bucket in buckets for row in bucket.rows) == list(range(len(lengths)))
    for bucket in buckets:
        longest = max(lengths[row] for row in bucket.rows)
        assert bucket.width == min(width for width in widths if width >= longest)
        assert len(bucket.rows) <= bucket.height < 2 * len(bucket.rows) and bucket.height & (bucket.height - 1) == 0
        assert bucket.height == 1 or bucket.height * bucket.width <= max_tokens
    sizes = [bucket.height * bucket.width for bucket in buckets]
    assert sizes == sorted(sizes, reverse=True)
