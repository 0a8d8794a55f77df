"""Words about long steps, on standard error: a spinner on a terminal, a line each elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

__all__ = ["Pace", "show_steps"]

_COUNTED: Final = re.compile(r"(\d+) of (\d+)")
_LEAST_SECONDS: Final = 2.0
_LINE_EVERY: Final = 30.0


class Pace:
    """How long steps take that count themselves, as in "rounding weights, product 3 of 36".

    Args:
        clock: Seconds that only go forwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stages: dict[str, _Stage] = {}
        self._shown = 0.0

    def words(self, step: str) -> str:
        """`step`, with the time left once that can be told."""
        name, number, total = _read(step)
        now, stage = self._clock(), self._stages.get(name)
        if stage is None or number <= stage.last:  # a new one, or it counts from its beginning again
            self._stages[name] = _Stage(began=now, first=number, last=number)
            return step
        stage.last = number
        spent = now - stage.began
        if spent < _LEAST_SECONDS:
            return step
        return f"{step} ({_duration(spent / (number - stage.first) * (total - number + 1))} left)"

    def line(self, step: str) -> str | None:
        """The words of `step` where lines are kept: of each stage the first, then one in half a minute; else None."""
        is_new = _read(step)[0] not in self._stages
        words = self.words(step)
        now = self._clock()
        if not is_new and now - self._shown < _LINE_EVERY:
            return None
        self._shown = now
        return words


@dataclass
class _Stage:
    began: float
    first: int
    last: int


@contextmanager
def show_steps(first: str) -> Iterator[Callable[[str], None]]:
    """Show the step `first`; calling what this yields shows the next one in its place."""
    console, pace = Console(stderr=True, highlight=False, markup=False), Pace()
    if console.is_terminal:
        with console.status(Text(first)) as status:
            yield lambda step: status.update(Text(pace.words(step)))
        return

    def show(step: str) -> None:
        line = pace.line(step)
        if line is not None:
            console.print(line, soft_wrap=True)

    show(first)
    yield show


def _read(step: str) -> tuple[str, int, int]:
    """What the step has in common with those that count on from it, its number, and how many there are."""
    found = _COUNTED.search(step)
    return (step, 0, 0) if found is None else (step[: found.start()], int(found[1]), int(found[2]))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
