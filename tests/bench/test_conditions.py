from __future__ import annotations

from pathlib import Path

import pytest

from onnxpress_bench import conditions
from onnxpress_bench.conditions import ClockJumpError, Watch


def test_a_clock_that_jumps_is_told() -> None:
    steady, wall = [100.0], [5_000.0]
    watch = Watch(steady=lambda: steady[0], wall=lambda: wall[0])
    steady[0], wall[0] = 160.0, 5_061.0  # within what clocks are slewed by
    assert watch.check_clock() == 60
    wall[0] += 30
    with pytest.raises(ClockJumpError, match=r"the clock jumped by \+31.0 s"):
        watch.conditions()
    wall[0] -= 3_600
    with pytest.raises(ClockJumpError, match=r"jumped by -3569.0 s .* measure again"):
        watch.check_clock()


def test_stolen_time_and_energy_are_what_the_system_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, energy = tmp_path / "stat", tmp_path / "energy_uj"
    monkeypatch.setattr(conditions, "_PROC_STAT", stat)
    monkeypatch.setattr(conditions, "_ENERGY", energy)
    stat.write_text("cpu  100 0 100 100 0 0 0 0 0 0\n")
    energy.write_text("1000000")
    watch = Watch()
    stat.write_text("cpu  150 0 100 125 0 0 0 25 0 0\n")
    energy.write_text("3500000")
    found = watch.conditions()
    assert found.stolen == 0.25 and found.joules == 2.5
    energy.write_text("500")  # the counter went round
    assert watch.conditions().joules is None
    stat.unlink()
    energy.unlink()
    found = Watch().conditions()
    assert found.stolen is None and found.joules is None
