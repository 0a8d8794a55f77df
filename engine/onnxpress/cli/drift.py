"""`onnxpress drift`: do a model's answers look as they did?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from onnxpress.extras import require

__all__ = ["drift"]

_EXIT_STATUS: Final = {"no drift": 0, "drift": 1, "not to be told": 3}


def drift(
    baseline: Annotated[
        Path, typer.Argument(help="A profile by `onnxpress score --profile`, or an artifact that holds one.")
    ],
    current: Annotated[Path, typer.Argument(help="A profile of the same model.")],
    limit: Annotated[float, typer.Option(help="The population stability index that still is no drift.")] = 0.1,
    confidence: Annotated[float, typer.Option(help="Of all intervals together.")] = 0.95,
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots there.")] = None,
) -> None:
    """Compare two profiles: Markdown; exit status 0 without drift, 1 with it, 3 when it is not to be told."""
    require(("scipy",), extra="drift")
    from onnxpress.watching.compare import compare_profiles
    from onnxpress.watching.page import page
    from onnxpress.watching.profile import read_profile
    from onnxpress.watching.report import markdown

    found = compare_profiles(read_profile(baseline), read_profile(current), limit=limit, confidence=confidence)
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
    typer.echo(markdown(found), nl=False)
    raise typer.Exit(_EXIT_STATUS[found.verdict])
