"""matplotlib's figures as SVG to put into a page: in the page's colours, with names of their own."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure

__all__ = ["INK", "RULE", "SERIES", "draw", "style"]

# Colours by which matplotlib draws and the page knows them; it has light and dark ones for each.
INK: Final = "#010101"
RULE: Final = "#cdcdcd"
# Okabe and Ito's palette, which keeps apart without colour vision; together with dashes and markers.
SERIES: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a6a00")
_DASHES: Final = ("-", "--", ":", "-.")
_MARKERS: Final = "osD^vPX"

_SETTINGS: Final[Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": RULE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # names may hold dollar signs
}


def style(index: int) -> dict[str, Any]:
    """How the series `index` is drawn, unlike all before it."""
    return {
        "color": SERIES[index % len(SERIES)],
        "linestyle": _DASHES[index // len(SERIES) % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 4,
    }


def draw(name: str, plot: Callable[[Figure], None], *, height: float = 3.2) -> str:
    """What `plot` draws, as an SVG element whose inner names begin with `name`."""
    with _settings(name):
        figure = Figure(figsize=(4.6, height), layout="constrained")
        plot(figure)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, variable in _variables():
        text = text.replace(colour, f"var({variable})")
    return text


def _variables() -> Iterator[tuple[str, str]]:
    yield INK, "--ink"
    yield RULE, "--rule"
    for index, colour in enumerate(SERIES):
        yield colour, f"--series-{index + 1}"


@contextmanager
def _settings(name: str) -> Iterator[None]:
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        yield
