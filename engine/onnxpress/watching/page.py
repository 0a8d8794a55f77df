"""A comparison as a page: one file, nothing is loaded, readable in the dark, on a phone and without colour vision."""

from __future__ import annotations

from html import escape
from typing import Final

from onnxpress.watching.compare import Comparison, Figure, Group
from onnxpress.watching.report import introduction, told

__all__ = ["page"]

_STYLE: Final = """
:root { color-scheme: light dark; --text: #1a1a1a; --back: #fff; --line: #ccc; --before: #7a7a7a; --now: #0067b8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #eee; --back: #161616; --line: #444; --before: #9a9a9a; --now: #5ab0ff; }
}
body { color: var(--text); background: var(--back); font: 16px/1.5 system-ui, sans-serif; max-width: 45rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .2rem; }
p { margin: .2rem 0 .8rem; }
dl { display: grid; grid-template-columns: minmax(6rem, 30%) 1fr; gap: .3rem .8rem; margin: 0; }
dd { margin: 0; border-left: 1px solid var(--line); }
.bar { display: flex; align-items: center; gap: .4rem; font-size: .8rem; line-height: 1.2; }
.bar i { flex: none; height: .8rem; }
.before i { background: repeating-linear-gradient(45deg, var(--before) 0 3px, transparent 3px 6px);
  border: 1px solid var(--before); box-sizing: border-box; }
.now i { background: var(--now); }
"""


def page(comparison: Comparison) -> str:
    """The comparison as HTML."""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<link rel="icon" href="data:,"><title>{comparison.verdict}</title><style>{_STYLE}</style></head><body>',
            f"<h1>{comparison.verdict.capitalize()}</h1>",
            f"<p>{introduction(comparison)} Bars: the baseline is hatched, what is now is solid.</p>",
            *(_section(figure) for figure in comparison.figures),
            "</body></html>\n",
        ]
    )


def _section(figure: Figure) -> str:
    widest = max(max(group.baseline, group.current) for group in figure.groups)
    rows = [_row(group, widest) for group in figure.groups]
    return (
        f"<section><h2>{escape(figure.name)}: {figure.verdict}</h2><p>Population stability index {told(figure.psi)}, "
        f"Jensen-Shannon distance {told(figure.distance)}</p><dl>{''.join(rows)}</dl></section>"
    )


def _row(group: Group, widest: float) -> str:
    bars = _bar("before", group.baseline, widest) + _bar("now", group.current, widest)
    return f"<dt>{escape(group.name)}</dt><dd>{bars}</dd>"


def _bar(kind: str, share: float, widest: float) -> str:
    """A bar that leaves room for its figure."""
    return f'<div class="bar {kind}"><i style="width:{75 * share / widest:.2f}%"></i>{share:.1%}</div>'
