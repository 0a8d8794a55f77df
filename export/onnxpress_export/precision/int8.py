"""The int8 variant: calibrated, searched, and measured on texts that neither saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx_ir as ir

from onnxpress.cpu import available_cpus
from onnxpress.errors import CheckFailedError
from onnxpress.fidelity import Answers, Decision, compare_answers
from onnxpress.int8_sums import WEIGHT_LIMITS
from onnxpress.manifest import Candidate, Drift, Fidelity, Target
from onnxpress_export.precision.activations import record_activations
from onnxpress_export.precision.drift import measure_drift
from onnxpress_export.precision.products import Source, find_sources
from onnxpress_export.precision.recipe import MOST_OUTLIERS, Recipe, choose_recipe, finer_recipe
from onnxpress_export.precision.sample import SEED, Sample
from onnxpress_export.precision.search import Level, Mix, build, search
from onnxpress_export.precision.trial import Trial

__all__ = ["Int8", "NoMixError", "choose_int8", "measure_fidelity"]

_KEPT_TOKENS: Final = 2_048
_ROUNDS: Final = 5


class NoMixError(CheckFailedError):
    """Only fp32 itself keeps the budget."""

    def __init__(self, budget: float, changed: float, expected: float) -> None:
        super().__init__(budget, changed, expected)
        self.budget, self.changed, self.expected = budget, changed, expected

    def __str__(self) -> str:
        return (
            f"no int8 mix keeps the budget of {self.budget:.2%}: with every product in int8, {self.changed:.2%} of the "
            f"answers change and {self.expected:.2%} are expected to. Nothing was written. Raise --max-disagreement, "
            "or drop int8."
        )


@dataclass(frozen=True, slots=True)
class Int8:
    """What to do to a graph, found on one graph and put into any clone of it.

    Attributes:
        candidates: What the search measured.
    """

    sources: dict[str, Source]
    recipes: dict[Level, dict[str, Recipe]]
    mix: Mix
    candidates: tuple[Candidate, ...]

    def apply(self, model: ir.Model) -> int:
        """Quantize `model` in place. Returns the number of products and embedding tables rewritten."""
        return build(model, self.sources, self.recipes, self.mix)

    def drift(self, model: ir.Model, folder: Path, sample: Sample) -> Drift:
        """How far the sample's unseen texts leave the ranges of what is quantized of the fp32 graph `model`."""
        chosen = {name: self.recipes[level][name] for name, level in self.mix.items() if level != "fp32"}
        return measure_drift(model, folder, sample.unseen_rows, chosen)


def choose_int8(
    model: ir.Model,
    folder: Path,
    sample: Sample,
    decision: Decision,
    *,
    target: Target,
    budget: float,
    on_step: Callable[[str], None],
) -> Int8:
    """Calibrate on the sample's seen texts, and search for the fastest mix that keeps the budget on them.

    Args:
        model: The CPU's fp32 graph, whose weights lie in `folder`; it stays as it is.
        folder: Where the weights are.
        sample: The texts.
        decision: What an answer is.
        target: The machine that it is for.
        budget: Share of answers that may change.
        on_step: Told the name of each step.

    Raises:
        NoMixError: Only fp32 itself keeps the budget.
    """
    sources = {source.name: source for source in find_sources(model.graph)}
    on_step("watching the activations")
    seen = record_activations(
        model, folder, sample.seen_rows, list(sources), threads=available_cpus(), kept=_KEPT_TOKENS, seed=SEED
    )
    recipes: dict[Level, dict[str, Recipe]] = {"int8": {}, "int8+fp32": {}, "int8x2": {}}
    for number, (name, source) in enumerate(sources.items(), 1):
        on_step(f"rounding weights, product {number} of {len(sources)}")
        limit = WEIGHT_LIMITS[target]
        recipes["int8"][name] = choose_recipe(source, seen[name], weight_limit=limit)
        recipes["int8+fp32"][name] = choose_recipe(source, seen[name], weight_limit=limit, outliers=MOST_OUTLIERS)
        recipes["int8x2"][name] = finer_recipe(source, seen[name], weight_limit=limit, outliers=MOST_OUTLIERS // 2)
    trial = Trial(sample.seen_rows, folder)
    answers = Answers(trial.logits(model), decision)
    found = search(model, sources, recipes, trial, answers, budget=budget, unseen=len(sample.unseen), on_step=on_step)
    if set(found.mix.values()) == {"fp32"}:
        raise NoMixError(budget, found.candidates[0].changed, found.candidates[0].expected)
    return Int8(sources, recipes, found.mix, found.candidates)


def measure_fidelity(
    reference: ir.Model,
    model: ir.Model,
    folder: Path,
    sample: Sample,
    labels: Sequence[str],
    decision: Decision,
    *,
    torch: Answers,
    budget: float,
    timed: bool = True,
) -> Fidelity:
    """Compare `model` with `reference` on the sample's unseen texts. Weights of both lie in `folder`.

    `torch` is what torch answers to the first of these texts. `timed` asks for the speed too.
    """
    trial = Trial(sample.unseen_rows, folder)
    return compare_answers(
        Answers(trial.logits(reference), decision),
        trial.logits(model),
        sample.unseen,
        labels,
        sample=sample.name,
        budget=budget,
        speed=trial.speed(model, reference, rounds=_ROUNDS) if timed else None,
        torch=torch,
    )
