"""Words about long steps, on standard error: a spinner on a terminal, a line each elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

__all__ = ["show_steps"]


@contextmanager
def show_steps(first: str) -> Iterator[Callable[[str], None]]:
    """Show the step `first`; calling what this yields shows the next one in its place."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with console.status(first) as status:
            yield status.update
    else:
        console.print(first)
        yield console.print
