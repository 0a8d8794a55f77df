"""The int8 variant: calibrated, searched, and measured on texts that neither saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxpress.answers.budget import clopper_pearson_upper
from onnxpress.answers.fidelity import Answers, Decision
from onnxpress.artifacts.cascade_record import Cascade, CascadeChanged, CascadePoint
from onnxpress.artifacts.manifest import Candidate, Drift, Fidelity, Target
from onnxpress.errors import CheckFailedError
from onnxpress.hardware.cpu import available_cpus
from onnxpress.hardware.int8_sums import WEIGHT_LIMITS
from onnxpress.hardware.machine import saturates
from onnxpress.tasks.comparison import Compared, Measure
from onnxpress_export.precision.activations import record_activations
from onnxpress_export.precision.drift import measure_drift
from onnxpress_export.precision.products import find_sources, weighted_nodes
from onnxpress_export.precision.recipe_book import RecipeBook
from onnxpress_export.precision.sample import SEED, Sample
from onnxpress_export.precision.search import Found, Plan, Search, build
from onnxpress_export.precision.trial import Trial

__all__ = [
    "Int8",
    "Measured",
    "NoGainError",
    "NoMixError",
    "Strategy",
    "choose_int8",
    "fastest_alone",
    "fastest_with_recheck",
    "measure_fidelity",
]

_KEPT_TOKENS: Final = 2_048
_ROUNDS: Final = 5


_STRICTER: Final = 1.25
_FEW: Final = 0.01
_TEXTS_TO_TIME: Final = 512
_LEAST_LEFT: Final = 50
"""Unseen texts that another attempt must leave to be measured on."""


class NoMixError(CheckFailedError):
    """Only fp32 itself keeps the budget."""

    def __init__(self, budget: float, changed: float, expected: float) -> None:
        super().__init__(budget, changed, expected)
        self.budget, self.changed, self.expected = budget, changed, expected

    def __str__(self) -> str:
        return (
            f"no int8 mix keeps the budget of {self.budget:.2%}: with every product in int8, {self.changed:.2%} of the "
            f"answers change and {self.expected:.2%} are expected to. int8 was left out. Raise --max-disagreement, "
            "or drop int8."
        )


class NoGainError(CheckFailedError):
    """What can be done in int8 is too little to bring anything."""

    def __init__(self, quantized: int, products: int, speed: float | None = None, size: float | None = None) -> None:
        super().__init__(quantized, products, speed, size)
        self.quantized, self.products, self.speed, self.size = quantized, products, speed, size

    def __str__(self) -> str:
        measured = [f"{self.quantized} of {self.products} products are in int8"]
        if self.speed is not None:
            measured.append(f"{self.speed:.2f} × fp32's speed")
        if self.size is not None:
            measured.append(f"{self.size:.2f} × its size")
        return (
            f"int8 brings nothing here: {', '.join(measured)}. int8 was left out. Raise --max-disagreement where "
            "answers may change more often, or drop int8."
        )


@dataclass(frozen=True, slots=True)
class Int8:
    """What to do to a graph, found on one graph and put into any clone of it.

    Attributes:
        plan: The level of each source.
        candidates: What the search measured.
        quantized, products: Products in int8, and all that multiply by constants.
        threshold: The margin below which a text is answered again by fp32; 0 where none is.
        points: What other thresholds would do.
    """

    book: RecipeBook
    plan: Plan
    candidates: tuple[Candidate, ...]
    quantized: int
    products: int
    threshold: float = 0.0
    points: tuple[CascadePoint, ...] = ()

    def apply(self, model: ir.Model) -> int:
        """Quantize `model` in place. Returns the number of products and embedding tables rewritten."""
        return build(model, self.book, self.plan)

    def drift(self, model: ir.Model, folder: Path, sample: Sample) -> Drift:
        """How far the sample's unseen texts leave the ranges of what is quantized of the fp32 graph `model`."""
        return measure_drift(model, folder, sample.unseen_rows, self.book.of(self.plan.mix))


Strategy = Callable[[Search, Trial, Answers, int, Found | None], Found]
"""What to look for with a search, on which texts, how many unseen ones will judge it, and what failed there before."""


def fastest_alone(search: Search, trial: Trial, answers: Answers, unseen: int, failed: Found | None) -> Found:
    """The fastest mix that keeps the budget by itself."""
    return search.first(trial, answers, unseen=unseen, after=-1 if failed is None else failed.index)


def fastest_with_recheck(search: Search, trial: Trial, answers: Answers, unseen: int, failed: Found | None) -> Found:
    """The fastest mix that keeps the budget with what fp32 answers again; after a failure with more of it.

    By itself, where it would take longer than fp32 with it.
    """
    at_least = 0.0
    if failed is not None:  # what had no threshold gets one: the same mix may not be judged twice
        least = float(np.quantile(answers.margins(answers.logits), _FEW))
        at_least = max(failed.threshold * _STRICTER, least)
    found = search.with_recheck(trial, answers, unseen=unseen, at_least=at_least)
    return found if found.within or failed is not None else fastest_alone(search, trial, answers, unseen, None)


def choose_int8(
    model: ir.Model,
    folder: Path,
    sample: Sample,
    decision: Decision,
    *,
    target: Target,
    budget: float,
    on_step: Callable[[str], None],
    strategy: Strategy = fastest_alone,
) -> Iterator[tuple[Int8, Sample]]:
    """Calibrate on the sample's seen texts, and search for the fastest mixes that keep the budget on them.

    Each comes with the sample that it is to be measured on: the first with all unseen texts. When it fails there, the
    first half of these joins the seen ones, the next mix is chosen by both, and only the other half may judge it: no
    mix is judged by texts that had a say in its choice. So on, while enough texts are left.

    Args:
        model: The CPU's fp32 graph, whose weights lie in `folder`; it stays as it is.
        folder: Where the weights are.
        sample: The texts.
        decision: What an answer is.
        target: The machine that it is for.
        budget: Share of answers that may change.
        on_step: Told the name of each step.
        strategy: What a search looks for.

    Raises:
        NoMixError: Only fp32 itself keeps the budget.
        NoGainError: Less than half of the products are in int8.
    """
    sources = {source.name: source for source in find_sources(model.graph)}
    products = len(weighted_nodes(model.graph))
    if 2 * sum(len(source.products) for source in sources.values()) < products or not sources:
        raise NoGainError(sum(len(source.products) for source in sources.values()), products)
    on_step("watching the activations")
    seen = record_activations(
        model, folder, sample.seen_rows, list(sources), threads=available_cpus(), kept=_KEPT_TOKENS, seed=SEED
    )
    book = RecipeBook(sources, seen, weight_limit=WEIGHT_LIMITS[target], on_step=on_step)
    trial = Trial(sample.seen_rows, folder, saturates=saturates(target), comparison=sample.comparison)
    search = Search(model, book, trial, decision, budget=budget, on_step=on_step)
    failed: Found | None = None
    while True:
        found = strategy(search, trial, trial.answers(model, decision), len(sample.unseen), failed)
        levels = set(found.plan.mix.values())
        if not found.within or levels == {"fp32"}:
            if failed is not None:
                return
            raise NoMixError(budget, found.candidates[0].changed, found.candidates[0].expected)
        quantized = sum(len(sources[name].products) for name, level in found.plan.mix.items() if level != "fp32")
        if 2 * quantized < products:
            raise NoGainError(quantized, products)
        yield Int8(book, found.plan, found.candidates, quantized, products, found.threshold, found.points), sample
        if len(sample.unseen) < 2 * _LEAST_LEFT:
            return
        on_step("that mix changed too many of the unseen answers: the next one is chosen, by half of them too")
        failed, sample = found, sample.with_more_seen(len(sample.unseen) // 2)
        trial = replace(trial, rows=sample.seen_rows)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on unseen texts: of the answers that are given, by int8 or by fp32, and of the cascade."""

    fidelity: Fidelity
    cascade: Cascade | None


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
    name: str,
    target: Target | None = None,
    recipe: Int8 | None = None,
    timed: bool = True,
) -> Measured:
    """Compare `model`, called `name`, with `reference` on the sample's unseen texts. Weights of both lie in `folder`.

    `torch` is what torch answers to the first of these texts; int8 is for a `target`, and made by a `recipe`. `timed`
    asks for the speed too.
    """
    trial = Trial(sample.unseen_rows, folder, saturates=saturates(target), comparison=sample.comparison)
    answers, logits = trial.answers(reference, decision), trial.logits(model)
    sure = np.ones(answers.owners.texts, dtype=np.bool_)
    if recipe is not None and recipe.threshold:
        sure = answers.margins(logits) >= recipe.threshold
    timing = replace(trial, first=_TEXTS_TO_TIME)
    speed = timing.speed(model, reference, rounds=_ROUNDS, again=~sure) if timed else None
    fidelity = sample.comparison.compare(
        answers,
        sample.unseen_rows,
        Compared(logits=answers.again(logits, sure), name=name, speed=speed, torch=torch),
        Measure(
            examples=sample.unseen, labels=labels, sample=sample.name, budget=budget, tokenizer=sample.encoder.tokenizer
        ),
    )
    if recipe is None or not recipe.threshold:
        return Measured(fidelity, None)
    return Measured(fidelity, _cascade(recipe, answers, logits, sure))


def _cascade(recipe: Int8, answers: Answers, logits: NDArray[np.float32], sure: NDArray[np.bool_]) -> Cascade:
    """The record of int8 with fp32 behind it, by the unseen texts' `logits`, of which int8 is `sure` of some."""
    changed, decision = answers.changed(logits), answers.decision
    given = answers.owners.spread(sure)
    differences = np.abs(decision.scores(logits[given]) - decision.scores(answers.logits[given])).ravel()
    (chosen,) = [candidate for candidate in recipe.candidates if candidate.chosen]
    count, kept = int((changed & sure).sum()), float(sure.mean())
    return Cascade(
        stages=("int8", "fp32"),
        thresholds={"int8": recipe.threshold},
        answered={"int8": kept, "fp32": 1 - kept},
        changed=CascadeChanged(
            texts=len(sure),
            changed=count,
            upper_95=clopper_pearson_upper(count, len(sure)),
            alone=int(changed.sum()),
        ),
        seen_again=chosen.again,
        score_difference=float(differences.max(initial=0)),
        score_difference_999=float(np.quantile(differences, 0.999)) if len(differences) else 0.0,
        points=recipe.points,
    )
