"""The fastest mix of levels whose answers stay within a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import onnx_ir as ir
from msgspec import structs

from onnxpress.budget import chance_within
from onnxpress.fidelity import Answers
from onnxpress.manifest import Candidate
from onnxpress_export.precision.products import Source
from onnxpress_export.precision.quantize import halve_weights, quantize_embeddings, quantize_products
from onnxpress_export.precision.recipe import Recipe
from onnxpress_export.precision.trial import Trial, node_times

__all__ = ["Level", "Mix", "Search", "build", "search"]

Level = Literal["int8", "int8+fp32", "int8x2", "fp32"]
Mix = Mapping[str, Level]
"""A level for each source, by name."""

_CHANCE: Final = 0.9
_LEVELS: Final[tuple[Level, ...]] = ("int8", "int8+fp32", "int8x2", "fp32")


@dataclass(frozen=True, slots=True)
class Search:
    """What was found.

    Attributes:
        mix: The fastest within the budget, or the most faithful one where none is.
        candidates: Every mix that was measured, fastest first.
    """

    mix: Mix
    candidates: tuple[Candidate, ...]


def build(
    model: ir.Model, sources: Mapping[str, Source], recipes: Mapping[Level, Mapping[str, Recipe]], mix: Mix
) -> int:
    """Quantize `model` in place to `mix`, and its embeddings. Returns the products and tables rewritten.

    Products that stay fp32 keep their weights in half the bytes.
    """
    chosen = {name: recipes[level][name] for name, level in mix.items() if level != "fp32"}
    rewritten = quantize_products(model, sources, chosen) + quantize_embeddings(model)
    return rewritten + halve_weights(model)


def search(
    model: ir.Model,
    sources: Mapping[str, Source],
    recipes: Mapping[Level, Mapping[str, Recipe]],
    trial: Trial,
    answers: Answers,
    *,
    budget: float,
    unseen: int,
    on_step: Callable[[str], None],
) -> Search:
    """Find the fastest mix that changes at most `budget` of the trial's answers.

    The noise that each source adds by itself is measured at each level, and its time. From all int8 on, the step
    that removes the most noise for its time comes next, until all is fp32: a path along which noise falls and time
    grows. The first mix of the path that keeps the budget is found by bisection: one that changed no more of these
    answers, and with which the larger of the changed and the expected share leaves a chance of nine in ten that no
    more of the unseen ones change.

    Args:
        model: The fp32 graph, which stays as it is.
        sources: By name.
        recipes: For each level but fp32, by source.
        trial: The texts of the search.
        answers: What `model` answers on them.
        budget: Share of answers that may change.
        unseen: How many texts the budget will be measured on.
        on_step: Told what is being measured.
    """

    def built(mix: Mix) -> ir.Model:
        candidate = model.clone()
        build(candidate, sources, recipes, mix)
        return candidate

    on_step("timing every product")
    times = {level: _times(built(dict.fromkeys(sources, level)), sources, trial) for level in _LEVELS}
    rest = times["fp32"].pop("")
    whole = rest + sum(times["fp32"].values())

    def measured(mix: Mix) -> Candidate:
        logits, products = trial.logits(built(mix)), Counter[str]()
        for name, level in mix.items():
            products[level] += len(sources[name].products)
        return Candidate(
            products=dict(products),
            time=(rest + sum(times[level][name] for name, level in mix.items())) / whole,
            changed=float(answers.changed(logits).mean()),
            expected=answers.expected(logits),
            chosen=False,
        )

    def keeps(candidate: Candidate) -> bool:
        share = max(candidate.changed, candidate.expected)
        return candidate.changed <= budget and chance_within(share, budget, unseen) >= _CHANCE

    on_step("trying every product in int8")
    fastest: dict[str, Level] = dict.fromkeys(sources, "int8")
    tried = {0: measured(fastest)}
    path, low, high = [fastest], 0, 0
    if not keeps(tried[0]):
        path = _path(list(sources), _noises(sources, built, trial, answers, on_step), times)
        high = len(path) - 1
        tried[high] = measured(path[high])
    while high - low > 1:
        middle = (low + high) // 2
        on_step(f"trying mix {middle} of {len(path)}")
        tried[middle] = measured(path[middle])
        low, high = (low, middle) if keeps(tried[middle]) else (middle, high)
    return Search(
        path[high],
        tuple(structs.replace(candidate, chosen=index == high) for index, candidate in sorted(tried.items())),
    )


def _noises(
    sources: Mapping[str, Source],
    built: Callable[[Mix], ir.Model],
    trial: Trial,
    answers: Answers,
    on_step: Callable[[str], None],
) -> dict[Level, dict[str, float]]:
    """What each source does to the deciding margins when it alone is at a level, by level and name.

    What the embeddings do, which every mix shares, is taken off: no level removes it.
    """
    on_step("measuring what the embeddings do to the answers")
    shared = answers.noise(trial.logits(built(dict.fromkeys(sources, "fp32"))))
    noises: dict[Level, dict[str, float]] = {level: dict.fromkeys(sources, 0.0) for level in _LEVELS}
    for level in _LEVELS[:-1]:
        for number, name in enumerate(sources, 1):
            on_step(f"measuring what {level} does to the answers, product {number} of {len(sources)}")
            mix: dict[str, Level] = {**dict.fromkeys(sources, "fp32"), name: level}
            noises[level][name] = max(answers.noise(trial.logits(built(mix))) - shared, 0.0)
    return noises


def _path(
    names: Sequence[str], noises: Mapping[Level, Mapping[str, float]], times: Mapping[Level, Mapping[str, float]]
) -> list[dict[str, Level]]:
    """Mixes from all int8 to all fp32, each with one source raised, to the level that removes most noise a time."""
    mix: dict[str, Level] = dict.fromkeys(names, "int8")
    path: list[dict[str, Level]] = [dict(mix)]
    while True:
        steps = [
            (
                (noises[mix[name]][name] - noises[level][name])
                / max(times[level][name] - times[mix[name]][name], 1e-3),
                name,
                level,
            )
            for name in names
            for level in _LEVELS[_LEVELS.index(mix[name]) + 1 :]
        ]
        if not steps:
            return path
        _, name, level = max(steps)
        mix[name] = level
        path.append(dict(mix))


def _times(model: ir.Model, sources: Mapping[str, Source], trial: Trial) -> dict[str, float]:
    """Microseconds of the nodes that belong to each source, and to none (key "")."""
    measured = node_times(model, trial)
    owners = {}
    for source in sources.values():
        owners[source.name] = source.name
        for product in source.products:
            owners[product.name] = owners[product.output] = source.name
    times = dict.fromkeys([*sources, ""], 0.0)
    for node in model.graph:
        output = node.outputs[0].name or ""
        owner = next((owners[key] for key in _stems(output) if key in owners and output != owners[key]), "")
        times[owner] += measured.get(node.name or "", 0.0)
    return times


def _stems(name: str) -> list[str]:
    """`name`, and it without each of the endings that `quantize_products` appends."""
    endings = (
        *("_int8_0", "_int8_1", "_exact", "_sum_0", "_sum_1"),
        *("_smoothed", "_quantized", "_rest_quantized", "_rest", "_coarse", "_outliers"),
    )
    return [name, *(name.removesuffix(ending) for ending in endings if name.endswith(ending))]
