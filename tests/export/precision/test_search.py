"""Which mix a search ends with, by what its mixes would change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxpress.answers.fidelity import Answers, Decision
from onnxpress.artifacts.manifest import Candidate
from onnxpress.inputs.encoder import TokenRows
from onnxpress_export.precision import recipe_book
from onnxpress_export.precision.activations import Activations
from onnxpress_export.precision.products import Product, Source
from onnxpress_export.precision.recipe_book import RecipeBook
from onnxpress_export.precision.search import Found, Plan, Search
from onnxpress_export.precision.trial import Trial

NAMES = ("a", "b", "c", "d")
STEPS = [{name: ("fp32" if index < raised else "int8") for index, name in enumerate(NAMES)} for raised in range(5)]
ANSWERS = Answers(np.zeros((1_000, 2), dtype=np.float32), Decision("softmax"))
TRIAL = Trial(TokenRows([], np.zeros(0, dtype=np.int64)), Path())


def source(name: str, *keys: str) -> Source:
    weight = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    products = (Product(f"{name}{key}", f"{name}{key}", weight, np.zeros(4, np.float32), key) for key in keys)
    return Source(name, tuple(products), None)


class Known(Search):
    """A search over four sources, of which the shares that each mix changes are known."""

    def __init__(self, changed: Mapping[int, float], *, by_tables: float = 0.0, budget: float = 0.01) -> None:
        book = RecipeBook({name: source(name, name) for name in NAMES}, {}, weight_limit=127, on_step=lambda _: None)
        self.steps: list[str] = []
        model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 20}), ir_version=10)
        super().__init__(model, book, TRIAL, ANSWERS.decision, budget=budget, on_step=self.steps.append)
        self.__dict__ |= {"_path": STEPS, "_has_tables": by_tables > 0}
        self.changed, self.by_tables = changed, by_tables

    def _measured(self, plan: Plan, trial: Trial, answers: Answers) -> Candidate:
        raised = sum(level == "fp32" for level in plan.mix.values())
        share = self.changed[raised] + self.by_tables * plan.embeddings
        return Candidate(
            products={"int8": 4 - raised},
            time=0.4 + raised / 10,
            changed=share,
            expected=share,
            chosen=False,
            embeddings="uint8" if plan.embeddings else "fp32",
        )


def first(search: Search, *, after: int = -1) -> Found:
    return search.first(TRIAL, ANSWERS, unseen=1_000, after=after)


@pytest.mark.parametrize(
    ("changed", "index"),
    [((0.001, 0, 0, 0, 0), 0), ((0.02, 0.001, 0, 0, 0), 1), ((0.05, 0.03, 0.02, 0.0005, 0), 3)],
)
def test_the_fastest_that_keeps_the_budget_is_found(changed: tuple[float, ...], index: int) -> None:
    found = first(Known(dict(enumerate(changed))))
    assert (found.index, found.within, found.plan) == (index, True, Plan(STEPS[index]))
    (chosen,) = [candidate for candidate in found.candidates if candidate.chosen]
    assert chosen.changed == changed[index] and [c.time for c in found.candidates] == sorted(
        c.time for c in found.candidates
    )


def test_the_next_one_lies_behind_the_one_that_failed() -> None:
    search = Known(dict.fromkeys(range(5), 0.0))
    assert [first(search, after=after).index for after in (-1, 0, 2)] == [0, 1, 3]
    assert not first(search, after=4).within


def test_a_chance_of_nine_in_ten_is_asked_for() -> None:
    """0.9 % of 1,000 texts are below the budget of 1 %, and too near it: one time in three there are more than ten."""
    assert first(Known({0: 0.009, 1: 0.009, 2: 0.006, 3: 0, 4: 0})).index == 2


def test_embedding_tables_that_spend_the_budget_stay_fp32() -> None:
    search = Known({0: 0.03, 1: 0.004, 2: 0.001, 3: 0, 4: 0}, by_tables=0.02)
    found = first(search)
    assert (found.within, found.index, found.plan.embeddings) == (True, 1, False)
    assert any("embedding tables: these stay fp32" in step for step in search.steps)
    assert {c.embeddings for c in found.candidates} == {"uint8", "fp32"}
    assert [c.embeddings for c in found.candidates if c.chosen] == ["fp32"]


def test_what_no_mix_keeps_is_told() -> None:
    found = first(Known(dict.fromkeys(range(5), 0.5), by_tables=0.1))
    assert not found.within and set(found.plan.mix.values()) == {"fp32"} and found.candidates[0].changed == 0.5


def test_weights_are_rounded_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, ...]] = []
    for name in ("choose_recipes", "finer_recipes"):
        real = getattr(recipe_book, name)

        def spied(family: list[Source], *rest: object, _real: object = real, **settings: object) -> object:
            made.append(tuple(one.name for one in family))
            return _real(family, *rest, **settings)  # type: ignore[operator]

        monkeypatch.setattr(recipe_book, name, spied)
    sources = {"a": source("a", "w"), "b": source("b", "v"), "c": source("c", "w", "u")}
    tokens = np.random.default_rng(2).normal(size=(64, 8)).astype(np.float32)
    seen = dict.fromkeys(sources, Activations(tokens.min(0), tokens.max(0), tokens.mean(0), tokens))
    book = RecipeBook(sources, seen, weight_limit=127, on_step=lambda _: None)
    assert book.families == [["a", "c"], ["b"]] and book.of(dict.fromkeys(sources, "fp32")) == {} and made == []
    first_time = book.of({"a": "int8", "b": "fp32", "c": "int8"})
    assert made == [("a", "c")] and set(first_time) == {"a", "c"}
    again = book.of({"a": "int8", "b": "int8x2", "c": "int8"})
    assert made == [("a", "c"), ("b",)] and again["a"] is first_time["a"] and again["b"].terms == 2
