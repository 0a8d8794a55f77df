"""The simulation that the benchmarks' page quotes: it runs, and says what the page says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/benchmarks.md").read_text()


@pytest.fixture(scope="module")
def simulation() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples/simulate_verdicts.py"))


def test_the_page_states_the_rate_of_void_runs(simulation: dict[str, Any]) -> None:
    (stated,) = re.findall(r"a sound run is void in (\d+\.\d) %", PAGE)
    assert abs(simulation["void_rate"](8, 4_000) - float(stated) / 100) < 0.0006
    assert simulation["void_rate"](8, 1_000, restarted=False) > 0.4, "one process for all blocks tells itself apart"


def test_the_page_states_how_often_the_gate_cries_wolf(simulation: dict[str, Any]) -> None:
    (stated,) = re.findall(r"at the limit itself a regression in (\d+\.\d) %", PAGE)
    assert abs(simulation["verdicts"](1.05, 1.05, 1_000)["regression"] - float(stated) / 100) < 0.0006
    assert simulation["verdicts"](1.0, 1.05, 100) == {"pass": 1.0}


@pytest.mark.parametrize("blocks", [2, 3, 8])
def test_intervals_hold_the_truth(simulation: dict[str, Any], blocks: int) -> None:
    assert 0.94 < simulation["coverage"](blocks, 4_000) < 0.97
    assert simulation["coverage"](blocks, 2_000, heavy=True) > 0.94
