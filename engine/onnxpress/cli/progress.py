"""Words about long steps, on standard error: a spinner on a terminal, a line each elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        self._stage: str | None = None
        self._began = self._shown = 0.0
        self._first = 0

    def words(self, step: str) -> str:
        """`step`, with the time left once that can be told."""
        stage, found, now = _stage(step), _COUNTED.search(step), self._clock()
        number, total = (int(found[1]), int(found[2])) if found else (0, 0)
        if stage != self._stage:
            self._stage, self._began, self._first = stage, now, number
            self._shown = now - 2 * _LINE_EVERY
        spent, done = now - self._began, number - self._first
        if done < 1 or spent < _LEAST_SECONDS:
            return step
        return f"{step} ({_duration(spent / done * (total - number + 1))} left)"

    def line(self, step: str) -> str | None:
        """The words of `step` where lines are kept: of each stage the first, then one in half a minute; else None."""
        words = self.words(step)
        now = self._clock()
        if now - self._shown < _LINE_EVERY:
            return None
        self._shown = now
        return words


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


def _stage(step: str) -> str:
    """What the step has in common with those that count on from it."""
    found = _COUNTED.search(step)
    return step if found is None else step[: found.start()]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
