"""Integers that stand for weights and values."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxpress_export.precision.activations import Activations
from onnxpress_export.precision.products import Product, Source
from onnxpress_export.precision.recipe import Recipe, choose_recipes, finer_recipes, outside
from onnxpress_export.precision.rounding import inverse_factor, round_weight

INPUTS, OUTPUTS = 48, 32


@pytest.fixture
def tokens() -> NDArray[np.float32]:
    """Correlated channels, as a network's are, one of them thirty times as large."""
    generator = np.random.default_rng(2)
    mixed = generator.normal(size=(3_000, 12)) @ generator.normal(size=(12, INPUTS)) + 0.3
    mixed[:, 7] *= 30
    return mixed.astype(np.float32)


@pytest.fixture
def weight() -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)


def seen(tokens: NDArray[np.float32]) -> Activations:
    return Activations(tokens.min(axis=0), tokens.max(axis=0), tokens.mean(axis=0), tokens)


def source(weight: NDArray[np.float32], carrier: str | None = None) -> Source:
    return Source("value", (Product("p", "p", weight, np.zeros(OUTPUTS, dtype=np.float32), "w"),), carrier)


def choose_recipe(of: Source, values: Activations, **settings: int) -> Recipe:
    return choose_recipes([of], {of.name: values}, **settings)[of.name]


def finer_recipe(of: Source, values: Activations, **settings: int) -> Recipe:
    return finer_recipes([of], {of.name: values}, **settings)[of.name]


def error(recipe: Recipe, tokens: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """Mean squared error of the quantized product, in numpy, relative to the product's mean square."""
    parts = recipe.weights["p"]
    value = tokens if recipe.divisor is None else tokens / recipe.divisor
    offset = float(recipe.zero_point)
    integers = np.clip(np.rint(value / recipe.scale) + offset, 0, 255) - offset
    approximate = (integers * recipe.scale) @ (parts.values * parts.scales) + parts.bias
    approximate += value[:, recipe.outliers] @ parts.exact
    exact = tokens @ weight
    return float(np.square(approximate - exact).mean() / np.square(exact).mean())


def test_errors_cancel_on_the_inputs(tokens: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    scales = (np.abs(weight).max(axis=0) / 64).astype(np.float32)
    rounded = round_weight(weight, scales, inverse_factor(tokens), limit=64)
    nearest = np.rint(weight / scales)
    exact = tokens @ weight
    apart = [float(np.square(tokens @ (integers * scales) - exact).mean()) for integers in (rounded, nearest)]
    assert apart[0] < apart[1] / 3
    assert np.abs(rounded).max() <= 64


@pytest.mark.parametrize("count", [20, 3_000])
def test_the_factor_is_that_of_the_inverse(tokens: NDArray[np.float32], count: int) -> None:
    """Also where there are fewer tokens than inputs, and the matrix could not be inverted without the damping."""
    few = tokens[:count]
    factor = inverse_factor(few).astype(np.float64)
    moments = (few.T @ few).astype(np.float64)
    moments += 0.01 * np.diagonal(moments).mean() * np.eye(INPUTS)
    assert np.array_equal(factor, np.triu(factor)) and (np.diagonal(factor) > 0).all()
    np.testing.assert_allclose(factor.T @ factor @ moments, np.eye(INPUTS), atol=1e-3)


def test_without_inputs_to_share_errors_it_rounds_to_the_nearest(weight: NDArray[np.float32]) -> None:
    scales = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
    factor = inverse_factor(np.eye(INPUTS, dtype=np.float32))
    assert np.array_equal(round_weight(weight, scales, factor, limit=127), np.rint(weight / scales))


def test_an_outlier_is_smoothed_away(tokens: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    recipe = choose_recipe(source(weight), seen(tokens), weight_limit=127)
    assert recipe.divisor is not None and recipe.divisor.argmax() == 7 and recipe.terms == 1
    plain = finer_recipe(source(weight), seen(tokens), weight_limit=127)
    assert plain.divisor is None and plain.terms == 2
    assert error(recipe, tokens, weight) < error(plain, tokens, weight) / 2  # of its first term


def test_outliers_are_kept_apart(tokens: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    tokens[:, 3] -= 60 * np.abs(tokens[:, 3])  # one far above the rest, one far below
    plain = finer_recipe(source(weight), seen(tokens), weight_limit=127)
    recipe = choose_recipe(source(weight), seen(tokens), weight_limit=127, outliers=2)
    finer = finer_recipe(source(weight), seen(tokens), weight_limit=127, outliers=2)
    for found in (recipe, finer):
        assert found.outliers.tolist() == [3, 7]
        assert not found.weights["p"].values[[3, 7]].any() and found.weights["p"].exact.shape == (2, OUTPUTS)
        assert found.scale < plain.scale / 5
    assert error(recipe, tokens, weight) < error(plain, tokens, weight) / 100


def test_what_is_kept_apart_counts_as_in_range(tokens: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    recipe = choose_recipe(source(weight), seen(tokens), weight_limit=127, outliers=1)
    far = np.full((1, INPUTS), 1e6, dtype=np.float32)
    beyond = outside(far, recipe)
    assert beyond[0, 7] == 0 and (np.delete(beyond[0], 7) > 1).all()


def test_two_terms_keep_nothing_apart_where_all_channels_are_alike(weight: NDArray[np.float32]) -> None:
    even = np.random.default_rng(4).normal(size=(500, INPUTS)).astype(np.float32)
    assert not len(finer_recipe(source(weight), seen(even), weight_limit=127, outliers=4).outliers)
    assert len(choose_recipe(source(weight), seen(even), weight_limit=127, outliers=4).outliers) == 4


def test_what_a_carrier_takes_is_free_and_always_taken(weight: NDArray[np.float32]) -> None:
    even = np.random.default_rng(4).normal(size=(500, INPUTS)).astype(np.float32)
    assert choose_recipe(source(weight), seen(even), weight_limit=127).divisor is None


@pytest.mark.parametrize("choose", [choose_recipe, finer_recipe])
def test_no_two_products_leave_int16_for_avx2(
    choose: type, tokens: NDArray[np.float32], weight: NDArray[np.float32]
) -> None:
    values = choose(source(weight), seen(tokens), weight_limit=64).weights["p"].values.astype(int)
    assert np.abs(255 * values[0::2] + 255 * values[1::2]).max() <= np.iinfo(np.int16).max
    assert np.abs(values).max() == 64


def test_zero_is_exact_and_nothing_seen_is_clipped(tokens: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    recipe = finer_recipe(source(weight), seen(tokens + 500), weight_limit=127)
    assert recipe.zero_point == 0  # all are above zero
    assert (tokens + 500).max() / recipe.scale < 255.5
