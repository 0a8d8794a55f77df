"""How one value and the weights that it meets become integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnxpress_export.precision.activations import Activations
from onnxpress_export.precision.products import Product, Source
from onnxpress_export.precision.rounding import inverse_factor, round_weight

__all__ = ["FINE_STEPS", "QuantizedWeight", "Recipe", "choose_recipe", "finer_recipe", "outside"]

FINE_STEPS: Final = 254
"""How much finer the second term's steps are: what the first leaves, half a step either way, fills its range."""

_STRENGTHS: Final = (0.35, 0.5, 0.65, 0.8)
_UINT8: Final = 255
_WORTH_A_NODE: Final = 0.7
"""A multiplication of its own must bring the error below this share of what it is without."""


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """`values * scales` stands for a weight.

    Attributes:
        values: int8 [inputs, outputs].
        scales: float32 [outputs].
        bias: The product's bias, corrected by what rounding the weight does to the mean input, float32 [outputs].
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a source is quantized: `round(value / divisor / scale) + zero_point`, and its products' weights.

    Attributes:
        divisor: What its channels are divided by first, float32 [inputs], or None.
        scale: The step, the same for every text, so that an answer does not depend on its batch.
        zero_point: What zero becomes, from 0 to 255.
        weights: By the product's name; they absorb the divisor.
        terms: 1, or 2 where a second uint8 carries what rounding to the first one left.
    """

    divisor: NDArray[np.float32] | None
    scale: np.float32
    zero_point: np.uint8
    weights: dict[str, QuantizedWeight]
    terms: int


def outside(tokens: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """How far each number lies outside the recipe's uint8, as a share of its range; 0 where rounding brings it inside.

    Args:
        tokens: float32 [..., inputs], before the divisor.
        recipe: What quantizes them.
    """
    steps = np.rint((tokens if recipe.divisor is None else tokens / recipe.divisor) / recipe.scale)
    steps += np.float32(recipe.zero_point)
    beyond: NDArray[np.float32] = np.maximum(np.maximum(-steps, steps - _UINT8), 0) / _UINT8
    return beyond


def finer_recipe(source: Source, seen: Activations, *, weight_limit: int) -> Recipe:
    """A recipe of two terms: twice the integer work, next to no error of the value, and so nothing to smooth."""
    scale, zero_point = _step(seen, None)
    return Recipe(None, scale, zero_point, _quantized_weights(source.products, seen, None, weight_limit), terms=2)


def choose_recipe(source: Source, seen: Activations, *, weight_limit: int) -> Recipe:
    """The recipe of one term with the smallest error on the tokens seen, over strengths of smoothing.

    Smoothing is SmoothQuant's: each channel is divided by `a ** strength / w ** (1 - strength)`, `a` and `w` its
    largest activation and weight (Xiao et al. 2022, equation 4). It is free where a carrier takes it. Ranges are
    never clipped: rare tokens with large values are those that decide.

    Args:
        source: The value and its products.
        seen: The value on the calibration texts.
        weight_limit: Largest weight as an integer: 127; or 64, with which no sum of two products leaves int16.
    """
    largest_weights = np.max([np.abs(product.weight).max(axis=1) for product in source.products], axis=0)
    largest = np.maximum(np.abs(seen.low), np.abs(seen.high))
    exact = [seen.tokens @ product.weight for product in source.products]

    def error(divisor: NDArray[np.float32] | None) -> float:
        scale, zero_point = _step(seen, divisor)
        tokens = _rounded(seen.tokens if divisor is None else seen.tokens / divisor, scale, zero_point)
        return sum(
            float(np.square(tokens @ _nearest(_scaled(product, divisor), weight_limit) - output).mean())
            for product, output in zip(source.products, exact, strict=True)
        )

    divisors = [_divisor(largest, largest_weights, strength) for strength in _STRENGTHS]
    smooth = min(divisors, key=error)
    needed = 1.0 if source.carrier is not None else _WORTH_A_NODE
    divisor = smooth if error(smooth) < needed * error(None) else None
    scale, zero_point = _step(seen, divisor)
    return Recipe(divisor, scale, zero_point, _quantized_weights(source.products, seen, divisor, weight_limit), terms=1)


def _quantized_weights(
    products: Sequence[Product], seen: Activations, divisor: NDArray[np.float32] | None, limit: int
) -> dict[str, QuantizedWeight]:
    by = np.float32(1.0) if divisor is None else divisor
    factor, mean = inverse_factor(seen.tokens / by), seen.mean / by
    found = {}
    for product in products:
        weight = _scaled(product, divisor)
        scales = _weight_scales(weight, limit)
        values = round_weight(weight, scales, factor, limit=limit)
        drift = mean @ (values * scales - weight)
        found[product.name] = QuantizedWeight(values, scales, (product.bias - drift).astype(np.float32))
    return found


def _scaled(product: Product, divisor: NDArray[np.float32] | None) -> NDArray[np.float32]:
    return product.weight if divisor is None else product.weight * divisor[:, None]


def _weight_scales(weight: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    scales: NDArray[np.float32] = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / np.float32(limit)
    return scales


def _nearest(weight: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    scales = _weight_scales(weight, limit)
    rounded: NDArray[np.float32] = np.rint(weight / scales) * scales
    return rounded


def _rounded(tokens: NDArray[np.float32], scale: np.float32, zero_point: np.uint8) -> NDArray[np.float32]:
    offset = np.float32(zero_point)
    integers: NDArray[np.float32] = np.clip(np.rint(tokens / scale) + offset, 0, _UINT8) - offset
    return integers * scale


def _divisor(activations: NDArray[np.float32], weights: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    tiny = np.float32(1e-5)  # a channel that is never used
    divisor = np.maximum(activations, tiny) ** strength / np.maximum(weights, tiny) ** (1 - strength)
    centred: NDArray[np.float32] = (divisor / np.exp(np.log(divisor).mean())).astype(np.float32)
    return centred


def _step(seen: Activations, divisor: NDArray[np.float32] | None) -> tuple[np.float32, np.uint8]:
    """The scale and zero point of the uint8 that hold all that was seen, and zero."""
    by = np.float32(1.0) if divisor is None else divisor
    low, high = min(float((seen.low / by).min()), 0.0), max(float((seen.high / by).max()), 0.0)
    scale = np.float32(max(high - low, 1e-12) / _UINT8)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, _UINT8))
