from __future__ import annotations

import numpy as np
import pytest

from onnxpress_bench.statistics import Ratio, least_samples, log_ratio_interval, median, paired_ratio, percentile


def test_percentiles_interpolate() -> None:
    assert [percentile(range(1, 102), p) for p in (0, 50, 99, 100)] == [1, 51, 100, 101]
    assert percentile([10, 20], 50) == 15
    assert median([3, 1, 2]) == 2


def test_a_constant_ratio_has_no_spread() -> None:
    ratio = paired_ratio([2, 4, 8], [1, 2, 4])
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2, 2, 2)) and ratio.pairs == 3


def test_what_slows_a_whole_round_cancels() -> None:
    slow = np.array([1.0, 9.0, 2.0, 30.0])
    ratio = paired_ratio(3 * slow, slow)
    assert ratio.high / ratio.low == pytest.approx(1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 0.1, (200, 2, 30))
    intervals = [paired_ratio(1.5 * np.exp(a), np.exp(b)) for a, b in noise]
    covered = np.mean([interval.low <= 1.5 <= interval.high for interval in intervals])
    assert 0.88 <= covered <= 1.0  # 95 % of 200, less three standard errors and the bootstrap's narrowness at 30


def test_the_ratio_is_symmetric() -> None:
    there, back = paired_ratio([3, 5], [2, 4]), paired_ratio([2, 4], [3, 5])
    assert there.value * back.value == pytest.approx(1)


@pytest.mark.parametrize("blocks", [3, 5, 8])
def test_the_interval_is_wide_enough_for_few_blocks(blocks: int) -> None:
    generator = np.random.default_rng(2)
    intervals = [log_ratio_interval(generator.normal(0.3, 0.1, blocks)) for _ in range(400)]
    covered = np.mean([low <= 0.3 <= high for low, high in intervals])
    # Resampling alone covers 74 % of 3 blocks and 84 % of 5. A mean of 3 cannot lie outside the smallest and largest
    # of them, which alone leaves out a quarter.
    assert covered >= (0.72 if blocks == 3 else 0.91)


def test_one_block_has_no_interval() -> None:
    assert log_ratio_interval(np.array([0.5])) == (0.5, 0.5)


def test_a_percentile_needs_ten_samples_beyond_it() -> None:
    assert [least_samples(percent) for percent in (50, 90, 99)] == [20, 100, 1_000]


def test_equality_is_excluded_by_either_side() -> None:
    ratios = [Ratio(value=1.0, low=low, high=high, pairs=3) for low, high in ((0.9, 1.1), (1.01, 1.2), (0.8, 0.99))]
    assert [ratio.excludes_one for ratio in ratios] == [False, True, True]
