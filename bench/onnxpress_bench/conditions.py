"""What the machine did beside the benchmark: load, stolen time, clocks, energy."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from onnxpress.errors import CheckFailedError

__all__ = ["ClockJumpError", "Conditions", "Watch"]

_JUMP_SECONDS: Final = 1.0
_JUMP_SHARE: Final = 0.02
_PROC_STAT: Final = Path("/proc/stat")
_GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_ENERGY: Final = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


class ClockJumpError(CheckFailedError):
    """The wall clock and the steady clock parted during a measurement: the machine slept, or the clock was set."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"the clock jumped by {self.seconds:+.1f} s while this was measured: the machine slept, or its time was "
            "set. Nothing of it can be trusted; measure again."
        )


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """How the machine was while it measured.

    Attributes:
        seconds: How long that took.
        load_before: One-minute load average at the beginning; 0 where the system has none.
        stolen: Share of CPU time that the hypervisor gave to others; None where the system does not tell.
        governor: The frequency governor, or "unknown".
        joules: Energy of the first processor package; None where the system does not tell.
    """

    seconds: float
    load_before: float
    stolen: float | None
    governor: str
    joules: float | None


class Watch:
    """Watches the machine from its construction until `conditions`."""

    def __init__(self, *, steady: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._steady, self._wall = steady, wall
        self._began = steady(), wall()
        self._load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        self._ticks = _cpu_ticks()
        self._energy = read_energy()

    def check_clock(self) -> float:
        """Seconds since the beginning. Raises ClockJumpError when the two clocks have parted."""
        seconds = self._steady() - self._began[0]
        drift = self._wall() - self._began[1] - seconds
        if abs(drift) > _JUMP_SECONDS + _JUMP_SHARE * seconds:
            raise ClockJumpError(drift)
        return seconds

    def conditions(self) -> Conditions:
        """What was seen. Raises as `check_clock` does."""
        seconds = self.check_clock()
        ticks, energy = _cpu_ticks(), read_energy()
        stolen = None
        if ticks and self._ticks and ticks[1] > self._ticks[1]:
            stolen = (ticks[0] - self._ticks[0]) / (ticks[1] - self._ticks[1])
        used = energy - self._energy if energy is not None and self._energy is not None else None
        return Conditions(
            seconds=round(seconds, 3),
            load_before=self._load,
            stolen=stolen,
            governor=_GOVERNOR.read_text().strip() if _GOVERNOR.exists() else "unknown",
            joules=used if used is None or used >= 0 else None,  # its counter went round
        )


def read_energy() -> float | None:
    """Joules that the first processor package has used since some time; None where the system does not tell."""
    try:
        return int(_ENERGY.read_text()) / 1e6
    except (OSError, ValueError):
        return None


def _cpu_ticks() -> tuple[int, int] | None:
    """Stolen ticks and all, of all CPUs."""
    if not _PROC_STAT.exists():
        return None
    ticks = [int(value) for value in _PROC_STAT.read_text().splitlines()[0].split()[1:]]
    return (ticks[7], sum(ticks[:8])) if len(ticks) > 7 else None
