from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpress.running.planner import Bucket, bucket_widths, plan_batches, plan_buckets, plan_packed, widths_together

RUN_COST = 4_096

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


def scores(lengths: np.ndarray, buckets: list[Bucket]) -> int:
    """What the batches cost, in scores."""
    assert sorted(row for bucket in buckets for row in bucket.rows) == list(range(len(lengths)))
    return sum(RUN_COST + bucket.height * bucket.width**2 for bucket in buckets)


def packed(lengths: np.ndarray, max_tokens: int) -> list[Bucket]:
    return plan_packed(lengths, max_tokens=max_tokens, max_length=140, run_cost=RUN_COST)


@given(st.lists(st.integers(1, 140), max_size=200), st.integers(1, 2_000))
def test_packed_batches_are_bounded_and_never_dearer_than_one_by_one(lengths: list[int], max_tokens: int) -> None:
    texts = np.array(lengths, dtype=np.int64)
    buckets = packed(texts, max_tokens)
    alone = [bucket for text in texts for bucket in packed(text[None], max_tokens)]
    assert scores(texts, buckets) <= sum(RUN_COST + bucket.width**2 for bucket in alone)
    for bucket in buckets:
        assert bucket.height == len(bucket.rows)
        assert bucket.width == min(-(-max(lengths[row] for row in bucket.rows) // 16) * 16, 140)
        assert bucket.height == 1 or bucket.height * bucket.width <= max_tokens
    sizes = [bucket.width for bucket in buckets]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("max_tokens", [512, 2_048, 16_384])
def test_a_long_text_does_not_widen_short_ones(max_tokens: int) -> None:
    """One text in twenty has 400 words; another time there are 500 to one."""
    for short, long in ((19, 1), (500, 1), (95, 5)):
        lengths = np.array([10] * short + [510] * long)
        buckets = plan_packed(lengths, max_tokens=max_tokens, max_length=512, run_cost=RUN_COST)
        widths = {int(row): bucket.width for bucket in buckets for row in bucket.rows}
        assert [widths[row] for row in range(short)] == [16] * short
        assert all(widths[row] == 512 for row in range(short, short + long))
        assert len(buckets) == -(-short // (max_tokens // 16)) + -(-long // (max_tokens // 512))


def test_neighbouring_widths_share_a_run_that_is_worth_it() -> None:
    together = widths_together({32: 3, 16: 2, 48: 1, 128: 1}, max_tokens=512, run_cost=RUN_COST)
    assert together == [[128], [48], [32, 16]]
    assert widths_together({32: 3, 16: 9}, max_tokens=512, run_cost=RUN_COST) == [[32], [16]]
    assert widths_together({32: 3, 16: 2}, max_tokens=512, run_cost=0) == [[32], [16]]
    assert widths_together({}, max_tokens=512, run_cost=0) == []


@given(st.dictionaries(st.integers(1, 9).map(lambda n: 16 * n), st.integers(1, 40), max_size=6), st.integers(0, 9_000))
def test_no_other_way_to_share_widths_is_cheaper(waiting: dict[int, int], run_cost: int) -> None:
    def cost(lists: list[list[int]]) -> int:
        rows = [sum(waiting[width] for width in widths) for widths in lists]
        runs = [-(-n // max(1, 256 // widths[0])) for n, widths in zip(rows, lists, strict=True)]
        return sum(r * run_cost + n * w[0] ** 2 for r, n, w in zip(runs, rows, lists, strict=True))

    def ways(widths: list[int]) -> Iterator[list[list[int]]]:
        if not widths:
            yield []
        for end in range(1, len(widths) + 1):
            for rest in ways(widths[end:]):
                yield [widths[:end], *rest]

    found = widths_together(waiting, max_tokens=256, run_cost=run_cost)
    assert cost(found) == min(map(cost, ways(sorted(waiting, reverse=True))))
