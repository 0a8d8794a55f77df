"""What counts prove, and what seen noise lets expect."""

from __future__ import annotations

import numpy as np
import pytest

from onnxpress.answers.budget import (
    chance_kept,
    chance_within,
    clopper_pearson,
    clopper_pearson_upper,
    texts_needed,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("count", "total", "interval"),  # as in Brown, Cai and DasGupta (2001), and where it must touch the ends
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (5, 10, (0.2366, 0.7634))],
)
def test_wilson(count: int, total: int, interval: tuple[float, float]) -> None:
    assert wilson_interval(count, total) == pytest.approx(interval, abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "texts", "upper"),  # none: 1 - 0.05 ** (1 / n); others from tables of the beta distribution
    [(0, 50, 0.05816), (0, 598, 0.0049971), (1, 10, 0.39416), (5, 10, 0.77756), (10, 10, 1.0), (1, 796, 0.005945)],
)
def test_the_exact_upper_bound(changed: int, texts: int, upper: float) -> None:
    assert clopper_pearson_upper(changed, texts) == pytest.approx(upper, rel=1e-3)


def expected_changed(margins: np.ndarray, noise: np.ndarray, threshold: float = 0.0) -> float:
    return 1 - float(chance_kept(margins, noise, threshold).mean())


def test_the_exact_upper_bound_holds_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(2).binomial(300, 0.01, 4_000)
    upper = {count: clopper_pearson_upper(count, 300) for count in set(drawn.tolist())}
    assert np.mean([upper[count] >= 0.01 for count in drawn.tolist()]) >= 0.95 - 0.01  # three standard errors
    assert clopper_pearson_upper(3, 300, 0.99) > clopper_pearson_upper(3, 300)


@pytest.mark.parametrize(
    ("count", "total", "confidence"),
    [(0, 10, 0.95), (10, 10, 0.95), (3, 10, 0.999), (540, 1_000, 0.999), (1, 10**6, 0.95), (54_000, 10**5, 0.99)],
)
def test_the_exact_interval_is_that_of_the_beta_distribution(count: int, total: int, confidence: float) -> None:
    beta, chance = pytest.importorskip("scipy.stats").beta, (1 - confidence) / 2
    low = 0.0 if count == 0 else beta.ppf(chance, count, total - count + 1)
    high = 1.0 if count == total else beta.ppf(1 - chance, count + 1, total - count)
    assert clopper_pearson(count, total, confidence) == pytest.approx((low, high), rel=1e-6, abs=1e-12)


def test_of_very_many_the_interval_is_that_of_many() -> None:
    low, high = clopper_pearson(54 * 10**10, 10**12, 0.999)
    assert 0.539 < low < 0.54 < high < 0.541


@pytest.mark.parametrize(("changed", "texts"), [(-1, 5), (6, 5), (0, 0)])
def test_counts_that_are_no_share_have_no_bound(changed: int, texts: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson_upper(changed, texts)


@pytest.mark.parametrize("budget", [0.5, 0.05, 0.005, 0.0005])
def test_the_texts_needed_are_the_fewest_that_prove_a_budget(budget: float) -> None:
    needed = texts_needed(budget)
    assert needed is not None and needed == pytest.approx(3 / budget, rel=0.3)
    assert clopper_pearson_upper(0, needed) <= budget < clopper_pearson_upper(0, needed - 1)
    assert texts_needed(0.0) is None


def test_the_chance_to_keep_a_budget() -> None:
    assert chance_within(0.0, 0.0, 10) == 1.0 and chance_within(1.0, 0.5, 10) == 0.0
    assert chance_within(0.01, 0.0, 100) == pytest.approx(0.99**100)  # no change at all
    assert chance_within(0.02, 0.005, 50) == pytest.approx(0.364, abs=1e-3)
    drawn = np.random.default_rng(1).binomial(20_000, 0.004, 20_000)
    assert chance_within(0.004, 0.0045, 20_000) == pytest.approx((drawn <= 90).mean(), abs=0.01)


def test_every_margin_meets_every_noise() -> None:
    margins, noise = np.array([[0.1], [1.0], [3.0]]), np.array([[-0.5], [0.5], [-1.0], [-2.0]])
    # 0.1 is lost to three of four, 1.0 to the last alone (one only reaches the limit), 3.0 to none
    assert expected_changed(margins, noise) == pytest.approx((3 + 1 + 0) / 12)
    # those that land within 0.6 of the limit are answered again: 0.1 - 1 and 0.1 - 2, and 1 - 2, are not
    assert expected_changed(margins, noise, 0.6) == pytest.approx((2 + 1) / 12)
    assert expected_changed(margins, noise, 2.0) == expected_changed(margins, 0 * noise) == 0


def test_heavy_tails_are_taken_as_seen() -> None:
    """Noise with a kurtosis near 10 flips margins that normal noise as strong would leave alone."""
    generator = np.random.default_rng(7)
    noise = generator.standard_t(5, (3_000, 1)) * 0.1
    margins = np.full((1_000, 1), 0.6)
    truth = float(np.mean(generator.standard_t(5, 2_000_000) * 0.1 < -0.6))
    assert expected_changed(margins, noise) == pytest.approx(truth, rel=0.4)
    normal = generator.normal(0, noise.std(), (3_000, 1))
    assert expected_changed(margins, normal) < truth / 5


def test_decisions_of_other_sizes_do_not_mix() -> None:
    with pytest.raises(ValueError, match="not of the same decisions"):
        expected_changed(np.ones((3, 2)), np.ones((4, 1)))
