from __future__ import annotations

import numpy as np
import pytest

from onnxpress_bench.statistics import (
    Ratio,
    least_samples,
    log_ratio_interval,
    median,
    paired_ratio,
    percentile,
    shared_confidence,
)


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
    assert ratio.low is not None and ratio.high is not None and ratio.high / ratio.low == pytest.approx(1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 0.1, (200, 2, 30))
    intervals = [paired_ratio(1.5 * np.exp(a), np.exp(b)) for a, b in noise]
    covered = np.mean(
        [interval.low is not None and interval.low <= 1.5 <= (interval.high or 0) for interval in intervals]
    )
    assert 0.9 <= covered <= 1.0  # 95 % of 200, less three standard errors


def test_the_ratio_is_symmetric() -> None:
    there, back = paired_ratio([3, 5], [2, 4]), paired_ratio([2, 4], [3, 5])
    assert there.value * back.value == pytest.approx(1)


@pytest.mark.parametrize("blocks", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_an_interval_of_few_blocks_holds_the_truth_as_often_as_it_says(blocks: int, confidence: float) -> None:
    """Resampled, that of 2 blocks holds it half of the time, and that of 3 three times in four."""
    generator = np.random.default_rng(2)
    intervals = [log_ratio_interval(generator.normal(0.3, 0.1, blocks), confidence) for _ in range(2_000)]
    covered = np.mean([found is not None and found[0] <= 0.3 <= found[1] for found in intervals])
    error = np.sqrt(confidence * (1 - confidence) / 2_000)
    assert abs(covered - confidence) < 4 * error


def test_the_interval_may_leave_the_range_of_its_blocks() -> None:
    found = log_ratio_interval(np.array([0.0, 0.1]))
    assert found is not None and found[0] < 0 and found[1] > 0.1


def test_one_block_has_no_interval() -> None:
    assert log_ratio_interval(np.array([0.5])) is None
    ratio = paired_ratio([3], [2])
    assert (ratio.value, ratio.low, ratio.high, ratio.excludes_one) == (pytest.approx(1.5), None, None, False)


def test_several_intervals_share_their_confidence() -> None:
    assert shared_confidence(0.95, 1) == pytest.approx(0.95) and shared_confidence(0.95, 10) == pytest.approx(0.995)


def test_a_percentile_needs_ten_samples_beyond_it() -> None:
    assert [least_samples(percent) for percent in (50, 90, 99)] == [20, 100, 1_000]


def test_equality_is_excluded_by_either_side() -> None:
    ratios = [Ratio(value=1.0, low=low, high=high, pairs=3) for low, high in ((0.9, 1.1), (1.01, 1.2), (0.8, 0.99))]
    assert [ratio.excludes_one for ratio in ratios] == [False, True, True]
