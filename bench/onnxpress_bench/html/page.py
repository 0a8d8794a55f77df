"""Results as one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnxpress_bench.html.figures import figures_of
from onnxpress_bench.result import BenchResult
from onnxpress_bench.table import grids_of, words_of

__all__ = ["page", "report"]


def report(results: Sequence[tuple[str, BenchResult]]) -> str:
    """The page of `results`, each with the name of its file."""
    sections = [
        {
            "name": name,
            "void": result.is_void,
            "figures": figures_of(result, f"r{number}-"),
            "words": words_of(result),
            "subtitle": f"{result.texts.count:,} texts, {sum(result.texts.tokens) / result.texts.count:.0f} tokens on "
            f"average; {result.created[:10]}{', ' + result.commit[:10] if result.commit else ''}",
            "tables": grids_of(result),
        }
        for number, (name, result) in enumerate(results, 1)
    ]
    return page("onnxpress benchmark", sections)


def page(title: str, sections: Sequence[dict[str, Any]]) -> str:
    """A self-contained HTML page of `sections`."""
    environment = Environment(
        loader=PackageLoader("onnxpress_bench", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(title=title, sections=sections)
