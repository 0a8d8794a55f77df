"""Every model type of transformers: none ends in a traceback, none is worse than docs/architectures.md says."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from onnxpress.artifacts.manifest import Task
from tests.export.architecture_table import PAGE, STATES, State, read_table, state_of, write_table
from tests.export.zoo import MODEL_TYPES

ROADS = ("big_bird", "bart", "gpt2", "mixtral", "fnet")
"""One type of each road that no other test takes: written attention, eos pooling, Conv1D, experts, no attention."""


TOKEN_ROADS = ("deberta-v2", "gpt2", "t5", "convbert")
"""One type of each road for tokens: relative positions, causal, an encoder of a pair, none that packs."""


def check(model_type: str, directory: Path, task: Task = "text-classification") -> None:
    stated = read_table(PAGE.read_text(), task).get(model_type, State(STATES[0], ""))
    found = state_of(model_type, directory, task)
    assert STATES.index(found.name) >= STATES.index(stated.name), f"{model_type}: {found}, but the page says {stated}"


@pytest.mark.parametrize("model_type", ROADS)
def test_a_type_of_each_road_is_as_the_page_says(model_type: str, tmp_path: Path) -> None:
    check(model_type, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(transformers.__version__ < "5", reason="the page is about transformers 5")
@pytest.mark.parametrize("model_type", [name for name in MODEL_TYPES["text-classification"] if name not in ROADS])
def test_no_type_is_worse_than_the_page_says(model_type: str, tmp_path: Path) -> None:
    check(model_type, tmp_path)


@pytest.mark.parametrize("model_type", TOKEN_ROADS)
def test_a_type_of_each_road_for_tokens_is_as_the_page_says(model_type: str, tmp_path: Path) -> None:
    check(model_type, tmp_path, "token-classification")


@pytest.mark.slow
@pytest.mark.skipif(transformers.__version__ < "5", reason="the page is about transformers 5")
@pytest.mark.parametrize(
    "model_type", [name for name in MODEL_TYPES["token-classification"] if name not in TOKEN_ROADS]
)
def test_no_type_for_tokens_is_worse_than_the_page_says(model_type: str, tmp_path: Path) -> None:
    check(model_type, tmp_path, "token-classification")


def test_the_page_lists_a_type_of_each_road() -> None:
    assert set(read_table(PAGE.read_text())) >= set(ROADS)
    assert set(read_table(PAGE.read_text(), "token-classification")) >= set(TOKEN_ROADS)


def test_the_table_is_read_as_it_was_written() -> None:
    states = {"bert": State(STATES[3], "2 of 2 attentions"), "yoso": State(STATES[1], "no road")}
    page = write_table("a <!-- every type: begin --> old <!-- every type: end --> z", states)
    assert read_table(page) == states and page.startswith("a ") and page.endswith(" z")
