"""The fastest mix of levels whose answers stay within a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import onnx_ir as ir
from msgspec import structs
from numpy.typing import NDArray

from onnxpress.answers.fidelity import Answers, Decision
from onnxpress.artifacts.cascade_record import CascadePoint
from onnxpress.artifacts.manifest import Candidate
from onnxpress_export.precision.products import Source
from onnxpress_export.precision.quantize import halve_weights, quantize_embeddings, quantize_products
from onnxpress_export.precision.recheck import after_recheck, keeps_budget, least_threshold, threshold_points
from onnxpress_export.precision.recipe_book import LEVELS, Level, Mix, RecipeBook
from onnxpress_export.precision.trial import Trial, node_times

__all__ = ["Found", "Plan", "Search", "build"]

_WORTH_A_PATH: Final = 0.03
"""Share of texts answered again from which it may pay to leave products in slower levels."""
_TEXTS_FOR_NOISE: Final = 128
"""A mean square over them is told to an eighth, which is enough to order products by."""
_NOISIEST: Final = 12
"""Families that are offered the levels between int8 and fp32: the others add little noise, and to round their weights
twice more and to measure them would take most of the search."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a graph.

    Attributes:
        mix: The level of each source.
        embeddings: Whether embedding tables become uint8.
    """

    mix: Mix
    embeddings: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What a search ended with.

    Attributes:
        plan: The fastest within the budget, or the most faithful one where none is.
        index: Its place on the search's path.
        candidates: Every mix that was measured, fastest first; this one is chosen.
        within: Whether it keeps the budget.
        threshold: The margin below which a text is answered again by fp32, so that it does; 0 where none is.
        points: What other thresholds would do.
    """

    plan: Plan
    index: int
    candidates: tuple[Candidate, ...]
    within: bool
    threshold: float = 0.0
    points: tuple[CascadePoint, ...] = ()


def build(model: ir.Model, book: RecipeBook, plan: Plan) -> int:
    """Quantize `model` in place as `plan` says. Returns the products and tables rewritten.

    Products that stay fp32 keep their weights in half the bytes.
    """
    rewritten = quantize_products(model, book.sources, book.of(plan.mix))
    if plan.embeddings:
        rewritten += quantize_embeddings(model)
    return rewritten + halve_weights(model)


class Search:
    """Finds the fastest mix that changes at most `budget` of the answers.

    The noise that each family of sources adds by itself is measured, and its time, at int8; and for the noisiest at the
    levels between int8 and fp32. From all int8 on, the step that removes the most noise for its time comes next, until
    all is fp32: a path along which noise falls and time grows. The first mix of the path that keeps the budget is found
    by bisection: one that changed no more of these answers, and with which the larger of the changed and the expected
    share leaves a chance of nine in ten that no more of the unseen ones change. When not even the path's end keeps it,
    the embedding tables stay fp32 in every mix, and the search begins again.
    """

    def __init__(
        self,
        model: ir.Model,
        book: RecipeBook,
        trial: Trial,
        decision: Decision,
        *,
        budget: float,
        on_step: Callable[[str], None],
    ) -> None:
        """`model` is the fp32 graph, which stays as it is; noise and time are measured on the first of `trial`."""
        self._model = model
        self._decision = decision
        self._book = book
        self._trial = trial
        self._budget = budget
        self._on_step = on_step
        self._embeddings = True

    def first(self, trial: Trial, answers: Answers, *, unseen: int, after: int = -1) -> Found:
        """The first mix behind place `after` of the path that keeps the budget on `trial`.

        Args:
            trial: The texts to choose by.
            answers: What the fp32 graph answers on them.
            unseen: How many texts the budget will be measured on.
            after: The last place that is out of the question.
        """
        found = self._bisect(trial, answers, unseen, after)
        if not found.within and self._embeddings and self._has_tables:
            self._on_step("no mix keeps the budget beside uint8 embedding tables: these stay fp32")
            self._embeddings = False
            again = self._bisect(trial, answers, unseen, -1)
            before = (structs.replace(candidate, chosen=False) for candidate in found.candidates)
            found = replace(again, candidates=(*again.candidates, *before))
        return found

    def with_recheck(self, trial: Trial, answers: Answers, *, unseen: int, at_least: float = 0.0) -> Found:
        """The mix and the threshold that take the least time: that of the mix, and fp32's for what is answered again.

        The latter is measured in the small batches that are left to it. Mixes of the path are tried while they alone
        take less time than the best so far with what it answers again.

        Args:
            trial: The texts to choose by.
            answers: What the fp32 graph answers on them.
            unseen: How many texts the budget will be measured on.
            at_least: The smallest threshold.
        """
        tried: list[Found] = []
        index, time_again = 0, self._time_again(trial)
        while True:
            self._on_step("trying every product in int8" if index == 0 else f"trying mix {index}, with rechecks")
            found, alone = self._rechecked(index, trial, answers, unseen, at_least, time_again)
            tried.append(found)
            best = min(tried, key=lambda one: (not one.within, one.candidates[0].time))
            if best.candidates[0].again < _WORTH_A_PATH or alone >= best.candidates[0].time:
                break
            if (index := max(1, 2 * index)) >= len(self._path) - 1:
                break
        candidates = (
            structs.replace(one.candidates[0], chosen=one is best)
            for one in sorted(tried, key=lambda one: one.candidates[0].time)
        )
        return replace(best, candidates=tuple(candidates))

    def _rechecked(
        self,
        index: int,
        trial: Trial,
        answers: Answers,
        unseen: int,
        at_least: float,
        time_again: Callable[[NDArray[np.bool_]], float],
    ) -> tuple[Found, float]:
        """Mix `index` with the least threshold that keeps the budget, and the mix's time alone."""
        plan = self._plan(index)
        logits, alone = self._run(plan, trial)
        threshold = least_threshold(answers, logits, budget=self._budget, unseen=unseen, at_least=at_least)
        again, changed, expected = after_recheck(answers, logits, threshold)
        time = alone + time_again(answers.margins(logits) < threshold)
        candidate = self._candidate(plan, time, changed, expected, again)
        pays = threshold == 0 or candidate.time < 1  # what needs fp32 beside it is not even smaller
        within = pays and keeps_budget(changed, expected, budget=self._budget, unseen=unseen)
        points = threshold_points(answers, logits, threshold, lambda unsure: alone + time_again(unsure))
        return Found(plan, index, (candidate,), within, threshold, points), alone

    def _time_again(self, trial: Trial) -> Callable[[NDArray[np.bool_]], float]:
        return trial.time_again(self._model)

    def _bisect(self, trial: Trial, answers: Answers, unseen: int, after: int) -> Found:
        tried: dict[int, Candidate] = {}

        def keeps(index: int) -> bool:
            self._on_step(
                "trying every product in int8" if index == 0 else f"trying mix {index} of {len(self._path) - 1}"
            )
            tried[index] = candidate = self._measured(self._plan(index), trial, answers)
            return keeps_budget(candidate.changed, candidate.expected, budget=self._budget, unseen=unseen)

        low, within = after, True
        if after < 0 and keeps(0):
            high = 0
        else:
            low, high = max(after, 0), len(self._path) - 1
            within = high > low and keeps(high)
            while within and high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if keeps(middle) else (middle, high)
        chosen = tuple(structs.replace(tried[index], chosen=index == high) for index in sorted(tried))
        return Found(self._plan(high), high, chosen, within)

    def _plan(self, index: int) -> Plan:
        return Plan(dict.fromkeys(self._book.sources, "int8") if index == 0 else self._path[index], self._embeddings)

    @cached_property
    def _time_of_fp32(self) -> int:
        return sum(node_times(self._model, self._trial).values())

    @cached_property
    def _has_tables(self) -> bool:
        return quantize_embeddings(self._model.clone()) > 0

    @cached_property
    def _path(self) -> list[dict[str, Level]]:
        """Mixes from all int8 to all fp32, each with one family raised."""
        names = [family[0] for family in self._book.families]
        noises: dict[Level, dict[str, float]] = {level: {} for level in LEVELS}
        noises["int8"] = self._noises("int8", names)
        noises["fp32"] = dict.fromkeys(names, 0.0)
        noisiest = sorted(names, key=lambda name: -noises["int8"][name])[:_NOISIEST]
        for level in LEVELS[1:-1]:
            noises[level] = self._noises(level, noisiest)
        times = {level: self._family_times(level, noises[level]) for level in LEVELS}
        members = {family[0]: family for family in self._book.families}
        steps = ordered_steps(names, noises, times)
        return [{name: level for head, level in step.items() for name in members[head]} for step in steps]

    def _noises(self, level: Level, heads: Sequence[str]) -> dict[str, float]:
        """What each family does to the deciding margins when it alone is at `level`, by its first name."""
        trial = replace(self._trial, first=_TEXTS_FOR_NOISE)
        reference = trial.answers(self._model, self._decision)
        heads_of = {family[0]: family for family in self._book.families if family[0] in heads}
        recipes = self._book.of({name: level for family in heads_of.values() for name in family})
        noises = {}
        for number, (head, family) in enumerate(heads_of.items(), 1):
            self._on_step(f"measuring what {level} does to the answers, {number} of {len(heads_of)}")
            alone = self._model.clone()
            quantize_products(alone, self._book.sources, {name: recipes[name] for name in family})
            noises[head] = reference.noise(trial.logits(alone))
        return noises

    def _family_times(self, level: Level, heads: Mapping[str, float]) -> dict[str, float]:
        """Microseconds of each family of `heads` at `level`, all others being int8."""
        raised = [family for family in self._book.families if family[0] in heads]
        mix: dict[str, Level] = dict.fromkeys(self._book.sources, "int8")
        mix |= {name: level for family in raised for name in family}
        candidate = self._model.clone()
        build(candidate, self._book, Plan(mix))
        times = source_times(candidate, self._book.sources, node_times(candidate, self._trial))
        return {family[0]: sum(times[name] for name in family) for family in raised}

    def _measured(self, plan: Plan, trial: Trial, answers: Answers) -> Candidate:
        """How the graph of `plan` does on `trial`."""
        logits, time = self._run(plan, trial)
        return self._candidate(plan, time, float(answers.changed(logits).mean()), answers.expected(logits), 0.0)

    def _run(self, plan: Plan, trial: Trial) -> tuple[NDArray[np.float32], float]:
        """What the graph of `plan` gives on `trial`, and its time, fp32's being 1."""
        candidate = self._model.clone()
        build(candidate, self._book, plan)
        return trial.logits(candidate), sum(node_times(candidate, self._trial).values()) / self._time_of_fp32

    def _candidate(self, plan: Plan, time: float, changed: float, expected: float, again: float) -> Candidate:
        products = Counter[str]()
        for name, level in plan.mix.items():
            products[level] += len(self._book.sources[name].products)
        return Candidate(
            products=dict(products),
            time=time,
            changed=changed,
            expected=expected,
            chosen=False,
            embeddings="uint8" if plan.embeddings and self._has_tables else "fp32",
            again=again,
        )


def ordered_steps(
    names: Sequence[str], noises: Mapping[Level, Mapping[str, float]], times: Mapping[Level, Mapping[str, float]]
) -> list[dict[str, Level]]:
    """Mixes from all int8 to all fp32, each with one name raised, to the level that removes most noise a time.

    A name is raised to the levels of which its noise and its time are known.
    """
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
            for level in LEVELS[LEVELS.index(mix[name]) + 1 :]
            if name in noises[level]
        ]
        if not steps:
            return path
        _, name, level = max(steps)
        mix[name] = level
        path.append(dict(mix))


def source_times(model: ir.Model, sources: Mapping[str, Source], measured: Mapping[str, float]) -> dict[str, float]:
    """What the nodes that belong to each source took, of what was `measured` of each node of `model`."""
    owners = {}
    for source in sources.values():
        owners[source.name] = source.name
        for product in source.products:
            owners[product.name] = owners[product.output] = source.name
    times = dict.fromkeys(sources, 0.0)
    for node in model.graph:
        output = node.outputs[0].name or ""
        owner = next((owners[key] for key in _stems(output) if key in owners and output != owners[key]), None)
        if owner is not None:
            times[owner] += measured.get(node.name or "", 0.0)
    return times


def _stems(name: str) -> list[str]:
    """`name`, and it without each of the endings that `quantize_products` appends."""
    endings = (
        *("_int8_0", "_int8_1", "_exact", "_sum_0", "_sum_1"),
        *("_smoothed", "_quantized", "_rest_quantized", "_rest", "_coarse", "_outliers"),
    )
    return [name, *(name.removesuffix(ending) for ending in endings if name.endswith(ending))]
