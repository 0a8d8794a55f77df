"""How one value and the weights that it meets become integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnxpress_export.precision.activations import Activations
from onnxpress_export.precision.products import Product, Source
from onnxpress_export.precision.rounding import inverse_factor, round_weight

__all__ = ["FINE_STEPS", "MOST_OUTLIERS", "QuantizedWeight", "Recipe", "choose_recipes", "finer_recipes", "outside"]

FINE_STEPS: Final = 254
"""How much finer the second term's steps are: what the first leaves, half a step either way, fills its range."""

MOST_OUTLIERS: Final = 8
"""Channels of one source that may be kept apart: each costs about a hundredth of a product, and a few do most."""

_STRENGTHS: Final = (0.35, 0.5, 0.65, 0.8)
_UINT8: Final = 255
_WORTH_A_NODE: Final = 0.7
"""What takes an operator of its own must bring the error, or the range, below this share of what it is without."""

_TOKENS_TO_CHOOSE_BY: Final = 512

_NONE: Final = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """`values * scales` stands for a weight, but for the rows of outliers.

    Attributes:
        values: int8 [inputs, outputs], 0 in the rows of outliers.
        scales: float32 [outputs].
        bias: The product's bias, corrected by what rounding the weight does to the mean input, float32 [outputs].
        exact: The rows of the outliers, float32 [outliers, outputs].
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.float32]
    exact: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a source is quantized: `round(value / divisor / scale) + zero_point`, and its products' weights.

    Attributes:
        divisor: What its channels are divided by first, float32 [inputs], or None.
        scale: The step, the same for every text, so that an answer does not depend on its batch.
        zero_point: What zero becomes, from 0 to 255.
        weights: By the product's name; they absorb the divisor.
        terms: 1, or 2 where a second uint8 carries what rounding to the first one left.
        outliers: Channels that lie outside the range and go through a small fp32 product, int64 [outliers].
    """

    divisor: NDArray[np.float32] | None
    scale: np.float32
    zero_point: np.uint8
    weights: dict[str, QuantizedWeight]
    terms: int
    outliers: NDArray[np.int64] = field(default_factory=_NONE.copy)


def outside(tokens: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """How far each number lies outside the recipe's uint8, as a share of its range; 0 where rounding brings it inside.

    Args:
        tokens: float32 [..., inputs], before the divisor.
        recipe: What quantizes them.
    """
    steps = np.rint((tokens if recipe.divisor is None else tokens / recipe.divisor) / recipe.scale)
    steps += np.float32(recipe.zero_point)
    beyond: NDArray[np.float32] = np.maximum(np.maximum(-steps, steps - _UINT8), 0) / _UINT8
    beyond[..., recipe.outliers] = 0
    return beyond


def finer_recipes(
    family: Sequence[Source], seen: Mapping[str, Activations], *, weight_limit: int, outliers: int = 0
) -> dict[str, Recipe]:
    """Recipes of two terms: twice the integer work, next to no error of the value, and so nothing to smooth.

    At most `outliers` channels are kept apart, where that makes the range much smaller: their weights' rounding is
    most of the error that is left.
    """
    pooled = _pooled([seen[source.name] for source in family])
    apart = _widest(pooled, None, outliers)
    if _step(_without(pooled, apart), None)[0] > _WORTH_A_NODE * _step(pooled, None)[0]:
        apart = _NONE
    return _recipes(family, seen, pooled, None, apart, weight_limit, terms=2)


def choose_recipes(
    family: Sequence[Source], seen: Mapping[str, Activations], *, weight_limit: int, outliers: int = 0
) -> dict[str, Recipe]:
    """Recipes of one term with the smallest error on the tokens seen, over strengths of smoothing.

    Smoothing is SmoothQuant's: each channel is divided by `a ** strength / w ** (1 - strength)`, `a` and `w` its
    largest activation and weight (Xiao et al. 2022, equation 4). It is free where a carrier takes it. Ranges are
    never clipped: rare tokens with large values are those that decide.

    Outliers are kept apart as in LLM.int8() (Dettmers et al. 2022, section 3.2), but always the same channels, known
    from calibration.

    Args:
        family: The values and their products: one, or several that share weights. Each keeps its own scale; divisor,
            outliers and integers are the same for all.
        seen: The values on the calibration texts, by name.
        weight_limit: Largest weight as an integer: 127; or 64, with which no sum of two products leaves int16.
        outliers: How many channels are kept apart: those that make the range widest.
    """
    products, pooled = _distinct(family), _pooled([seen[source.name] for source in family])
    largest_weights = np.max([np.abs(product.weight).max(axis=1) for product in products], axis=0)
    largest = np.maximum(np.abs(pooled.low), np.abs(pooled.high))
    few = pooled.tokens[:: max(1, len(pooled.tokens) // _TOKENS_TO_CHOOSE_BY)]
    exact = {product.key: few @ product.weight for product in products}

    def error(divisor: NDArray[np.float32] | None) -> float:
        apart = _widest(pooled, divisor, outliers)
        rest = _without(Activations(pooled.low, pooled.high, pooled.mean, few), apart)
        scale, zero_point = _step(rest, divisor)
        tokens = _rounded(rest.tokens if divisor is None else rest.tokens / divisor, scale, zero_point)
        total = 0.0
        for product in products:
            output = tokens @ _nearest(_scaled(product, divisor), weight_limit)
            output += few[:, apart] @ product.weight[apart]
            total += float(np.square(output - exact[product.key]).mean())
        return total

    divisors = [_divisor(largest, largest_weights, strength) for strength in _STRENGTHS]
    errors = [error(divisor) for divisor in divisors]
    needed = 1.0 if all(source.carrier is not None for source in family) else _WORTH_A_NODE
    divisor = divisors[int(np.argmin(errors))] if min(errors) < needed * error(None) else None
    return _recipes(family, seen, pooled, divisor, _widest(pooled, divisor, outliers), weight_limit, terms=1)


def _recipes(
    family: Sequence[Source],
    seen: Mapping[str, Activations],
    pooled: Activations,
    divisor: NDArray[np.float32] | None,
    outliers: NDArray[np.int64],
    weight_limit: int,
    *,
    terms: int,
) -> dict[str, Recipe]:
    rounded = _rounded_weights(_distinct(family), _without(pooled, outliers), divisor, outliers, weight_limit)
    recipes = {}
    for source in family:
        rest = _without(seen[source.name], outliers)
        mean = rest.mean if divisor is None else rest.mean / divisor
        weights = {product.name: rounded[product.key].with_bias(product.bias, mean) for product in source.products}
        recipes[source.name] = Recipe(divisor, *_step(rest, divisor), weights, terms, outliers)
    return recipes


def _distinct(family: Sequence[Source]) -> list[Product]:
    """The products of `family`, one for each weight."""
    return list({product.key: product for source in family for product in source.products}.values())


def _pooled(seen: Sequence[Activations]) -> Activations:
    """What several values are together; of each an equal part of the tokens."""
    if len(seen) == 1:
        return seen[0]
    return Activations(
        low=np.min([activations.low for activations in seen], axis=0),
        high=np.max([activations.high for activations in seen], axis=0),
        mean=np.mean([activations.mean for activations in seen], axis=0, dtype=np.float32),
        tokens=np.concatenate([activations.tokens[:: len(seen)] for activations in seen]),
    )


def _widest(seen: Activations, divisor: NDArray[np.float32] | None, count: int) -> NDArray[np.int64]:
    """`count` channels, ascending: one after the other that without which the range shrinks most."""
    by = np.float32(1.0) if divisor is None else divisor
    low, high = np.minimum(seen.low / by, 0), np.maximum(seen.high / by, 0)
    chosen = []
    for _ in range(min(count, len(low))):
        lowest, highest = np.argsort(low)[:2], np.argsort(high)[-2:][::-1]
        falls, rises = np.diff(high[highest])[0], np.diff(low[lowest])[0]  # of the range's ends, without the widest
        widest = int(highest[0] if -falls > rises else lowest[0])
        chosen.append(widest)
        low[widest] = high[widest] = 0
    return np.array(sorted(chosen), dtype=np.int64)


def _without(seen: Activations, channels: NDArray[np.int64]) -> Activations:
    """The same with 0 in `channels`."""
    if not len(channels):
        return seen
    kept = np.ones(len(seen.low), dtype=np.float32)
    kept[channels] = 0
    return Activations(seen.low * kept, seen.high * kept, seen.mean * kept, seen.tokens * kept)


@dataclass(frozen=True, slots=True)
class _Rounded:
    """A weight as integers: `values * scales` stands for `weight`, in which the rows of outliers are 0."""

    weight: NDArray[np.float32]
    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    exact: NDArray[np.float32]

    def with_bias(self, bias: NDArray[np.float32], mean: NDArray[np.float32]) -> QuantizedWeight:
        """For a product of this `bias`, whose inputs have this `mean`."""
        drift = (mean @ self.values.astype(np.float32)) * self.scales - mean @ self.weight
        return QuantizedWeight(self.values, self.scales, (bias - drift).astype(np.float32), self.exact)


def _rounded_weights(
    products: Sequence[Product],
    seen: Activations,
    divisor: NDArray[np.float32] | None,
    outliers: NDArray[np.int64],
    limit: int,
) -> dict[str, _Rounded]:
    """Each product's weight, by its key: all are rounded in one go, as they meet the same inputs."""
    factor = inverse_factor(seen.tokens if divisor is None else seen.tokens / divisor)
    whole = np.hstack([_scaled(product, divisor) for product in products])
    exact = whole[outliers]
    whole[outliers] = 0
    scales = _weight_scales(whole, limit)
    values = round_weight(whole, scales, factor, limit=limit)
    values[outliers] = 0  # rounding hands errors on to every input
    found, start = {}, 0
    for product in products:
        part = np.s_[..., start : start + product.weight.shape[1]]
        start += product.weight.shape[1]
        found[product.key] = _Rounded(
            np.ascontiguousarray(whole[part]),
            np.ascontiguousarray(values[part]),
            np.ascontiguousarray(scales[part]),
            np.ascontiguousarray(exact[part]),
        )
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
