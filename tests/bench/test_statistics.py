from __future__ import annotations

import numpy as np
import pytest

from onnxpress_bench.statistics import median, paired_ratio, percentile


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
