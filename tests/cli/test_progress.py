from __future__ import annotations

import re

import pytest

from onnxpress.cli.progress import Pace, show_steps


def test_a_counted_step_tells_the_time_left() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    told = []
    for number in (1, 2, 3, 4):
        told.append(pace.words(f"rounding, product {number} of 4"))
        now[0] += 100.0
    assert told[0] == "rounding, product 1 of 4"
    assert told[1:] == [
        "rounding, product 2 of 4 (5 min left)",
        "rounding, product 3 of 4 (3 min left)",
        "rounding, product 4 of 4 (2 min left)",
    ]
    assert pace.words("comparing with torch") == "comparing with torch"
    assert pace.words("rounding, product 1 of 9") == "rounding, product 1 of 9"  # another stage, from its beginning


def test_a_stage_goes_on_after_another() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    for turn in (1, 2, 3):
        now[0] += 90.0
        pace.words(f"starting, {turn} of 3")
        now[0] += 10.0
        told = pace.words(f"turn {turn} of 3: engine")
    assert told == "turn 3 of 3: engine (2 min left)"  # what comes between two turns counts


def test_lines_are_few_and_every_stage_has_one() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    shown = []
    for step in ("loading", *(f"turn {n} of 300: system {n % 3}" for n in range(1, 301)), "comparing"):
        shown.append(pace.line(step))
        now[0] += 0.5
    lines = [line for line in shown if line]
    assert lines[0] == "loading" and lines[1].startswith("turn 1 of 300") and lines[-1] == "comparing"
    assert len(lines) == 3 + 4  # one more each half minute of 150 s
    assert all(re.search(r"left\)$", line) for line in lines[2:-1])


def test_words_in_brackets_are_no_markup(capfd: pytest.CaptureFixture[str]) -> None:
    with show_steps("starting") as show:
        show("preparing [red]x[/] and [/nothing]")
    assert capfd.readouterr().err == "starting\npreparing [red]x[/] and [/nothing]\n"
