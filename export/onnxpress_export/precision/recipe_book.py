"""Recipes, made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal

from onnxpress.hardware.cpu import available_cpus
from onnxpress_export.precision.activations import Activations
from onnxpress_export.precision.products import Source, families
from onnxpress_export.precision.recipe import MOST_OUTLIERS, Recipe, choose_recipes, finer_recipes

__all__ = ["LEVELS", "Level", "Mix", "RecipeBook"]

Level = Literal["int8", "int8+fp32", "int8x2", "fp32"]
Mix = Mapping[str, Level]
"""A level for each source, by name; the same for all of a family."""

LEVELS: Final[tuple[Level, ...]] = ("int8", "int8+fp32", "int8x2", "fp32")


class RecipeBook:
    """The recipes of all sources at all levels. Rounding weights takes most of an export: none is rounded in vain.

    Attributes:
        sources: By name.
        families: Their names, those together that share weights and so have one level.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        seen: Mapping[str, Activations],
        *,
        weight_limit: int,
        on_step: Callable[[str], None],
    ) -> None:
        """`seen` is what calibration saw of each source; `weight_limit` is the largest weight as an integer."""
        self.sources = sources
        self.families = families(sources)
        self._seen = seen
        self._weight_limit = weight_limit
        self._on_step = on_step
        self._made: dict[tuple[Level, str], Recipe] = {}

    def of(self, mix: Mix) -> dict[str, Recipe]:
        """The recipe of each source that `mix` does not leave in fp32; what is missing is made, on all CPUs."""
        wanted = {name: level for name, level in mix.items() if level != "fp32"}
        missing = [
            (wanted[names[0]], names)
            for names in self.families
            if names[0] in wanted and (wanted[names[0]], names[0]) not in self._made
        ]
        if missing:
            with ThreadPoolExecutor(available_cpus()) as pool:
                made = pool.map(lambda one: self._make(*one), missing)
                for number, (level, recipes) in enumerate(zip((level for level, _ in missing), made, strict=True), 1):
                    self._on_step(f"rounding weights, {number} of {len(missing)} values")
                    self._made |= {(level, name): recipe for name, recipe in recipes.items()}
        return {name: self._made[level, name] for name, level in wanted.items()}

    def _make(self, level: Level, names: Sequence[str]) -> dict[str, Recipe]:
        family, limit = [self.sources[name] for name in names], self._weight_limit
        if level == "int8x2":
            return finer_recipes(family, self._seen, weight_limit=limit, outliers=MOST_OUTLIERS // 2)
        outliers = MOST_OUTLIERS if level == "int8+fp32" else 0
        return choose_recipes(family, self._seen, weight_limit=limit, outliers=outliers)
