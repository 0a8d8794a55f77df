"""Explanations as one self-contained page: no script, no network.

Blue speaks for the label and orange against it, two colours that all eyes tell apart. No colour is needed, though: what
speaks for is underlined and filled, what speaks against is dotted and outlined, and the words that weigh most are
listed with their shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import Final

from onnxpress.explaining.explanation import Explanation, Word

__all__ = ["page"]

_MOST_LABELS: Final = 8
_MOST_WORDS: Final = 12
_FAINTEST: Final = 0.02
"""Of the largest share; what is fainter is not tinted."""


def page(explanations: Sequence[Explanation]) -> str:
    """The whole page, HTML; it holds the texts themselves."""
    style = files("onnxpress.explaining").joinpath("page.css").read_text(encoding="utf-8")
    sections = "\n".join(_section(number, one) for number, one in enumerate(explanations, 1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Which words make the answer</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>Which words make the answer</h1>
<p class="quiet"><mark class="for" style="--share:1">Blue, underlined</mark>: speaks for the label.
<mark class="against" style="--share:1">Orange, dotted</mark>: speaks against it. The stronger, the more.
What is grey was not read, or is no word.</p>
{sections}
</main>
</body>
</html>
"""


def _section(number: int, explanation: Explanation) -> str:
    parts = (explanation.text,) if isinstance(explanation.text, str) else explanation.text
    largest = max((abs(word.share) for word in explanation), default=0.0)
    texts = "\n".join(
        f'<p class="text" dir="auto">{"".join(_tinted(text, [w for w in explanation if w.part == part], largest))}</p>'
        for part, text in enumerate(parts)
    )
    return f"""<section id="text-{number}">
<h2>{number}. {escape(explanation.label)}: {explanation.score:.4f}</h2>
<p class="quiet">{escape(_words_on(explanation))}</p>
{texts}
<div class="bars">
<div>
<h3>Labels</h3>
<table><tbody>
{_label_rows(explanation)}
</tbody></table>
</div>
<div>
<h3>Words that weigh most</h3>
<table><tbody>
{_word_rows(explanation, largest)}
</tbody></table>
</div>
</div>
</section>"""


def _words_on(explanation: Explanation) -> str:
    sums = "The shares and this add up to the score. " if explanation.method == "shap" else ""
    return (
        f"{explanation.method}, {explanation.precision}. With every word masked ({explanation.mask}): "
        f"{explanation.base:.4f}. {sums}Words: {len(explanation):,}."
    )


def _tinted(text: str, words: Sequence[Word], largest: float) -> Iterator[str]:
    """The text, with its words marked."""
    done = 0
    for word in words:
        yield escape(text[done : word.start])
        done = word.end
        strength = abs(word.share) / largest if largest else 0.0
        tint = f' class="{_side(word.share)}" style="--share:{strength:.2f}"' if strength >= _FAINTEST else ""
        yield f"<mark{tint}>{escape(word.text)}</mark>"
    yield escape(text[done:])


def _label_rows(explanation: Explanation) -> str:
    shown = list(explanation.predictions[:_MOST_LABELS])
    shown += [one for one in explanation.predictions[_MOST_LABELS:] if one.label == explanation.label]
    scale = max(1.0, *(abs(one.score) for one in shown))
    rows = [
        f'<tr class="{"explained" if one.label == explanation.label else "other"}">'
        f'<th scope="row">{escape(one.label)}</th>'
        f"<td>{_bar('label', 0, abs(one.score) / scale)}</td><td>{one.score:.4f}</td></tr>"
        for one in shown
    ]
    left = len(explanation.predictions) - len(shown)
    return "\n".join([*rows, *([f"<tr><th>and {left:,} more</th><td></td><td></td></tr>"] if left else [])])


def _word_rows(explanation: Explanation, largest: float) -> str:
    heaviest = sorted(explanation, key=lambda word: -abs(word.share))[:_MOST_WORDS]
    return "\n".join(
        f'<tr><th scope="row" dir="auto">{escape(word.text)}</th><td>{_share_bar(word.share, largest)}</td>'
        f"<td>{word.share:+.4f}</td></tr>"
        for word in heaviest
    )


def _share_bar(share: float, largest: float) -> str:
    """To the right of the middle where it speaks for the label, else to the left."""
    half = abs(share) / largest / 2 if largest else 0.0
    return _bar(_side(share), 0.5 if share >= 0 else 0.5 - half, half, middle=True)


def _bar(kind: str, start: float, length: float, *, middle: bool = False) -> str:
    line = '<line x1="50%" y1="0" x2="50%" y2="100%"/>' if middle else ""
    return (
        f'<svg class="bar" aria-hidden="true">{line}<rect class="{kind}" x="{100 * start:.2f}%" y="2" '
        f'width="{100 * length:.2f}%" height="9"/></svg>'
    )


def _side(share: float) -> str:
    return "for" if share >= 0 else "against"
