"""The page: texts are escaped, nothing is fetched, and a browser shows it on a phone and on a desk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from onnxpress.answers.predictions import Prediction
from onnxpress.explaining.explanation import Explanation, Word
from onnxpress.explaining.page import page
from onnxpress.inputs.texts import Text
from tests.browser import SCHEMES, WIDTHS, show

HOSTILE = 'a <script>alert("x")</script> & film'


def explanation(text: Text, shares: Sequence[float], labels: int = 2, **changes: Any) -> Explanation:
    """Words between spaces, with these shares."""
    parts = (text,) if isinstance(text, str) else text
    found = [(part, match) for part, one in enumerate(parts) for match in re.finditer(r"\S+", one)]
    words = tuple(
        Word(text=match.group(), start=match.start(), end=match.end(), share=share, part=part)
        for (part, match), share in zip(found, shares, strict=False)
    )
    predictions = tuple(Prediction(f"label <{number}>", 0.9 / (number + 1)) for number in range(labels))
    settings = {
        "label": "label <0>",
        "score": 0.9,
        "base": 0.5,
        "method": "shap",
        "precision": "int8",
        "mask": "<mask>",
    }
    return Explanation(text=text, words=words, predictions=predictions, **settings | changes)  # type: ignore[arg-type]


EXPLANATIONS = [
    explanation("a good film, but dull", [0.0, 0.4, 0.001, -0.05, -0.2]),
    explanation(HOSTILE, [0.1, -0.3, 0.1, 0.1], labels=77, label="label <70>"),
    explanation(("good film", "the worst\r\nplot"), [0.1, -0.3, 0.1, 0.1, 0.2], method="occlusion"),
    explanation("", []),
    explanation("x" * 3_000 + " שלום 这部电影 " + "👩\u200d👩\u200d👧" * 30, [0.2, -0.1, 0.3, 0.1]),
    explanation("good bad", [0.0, 0.0]),
]


@pytest.fixture(scope="module")
def whole() -> str:
    return page(EXPLANATIONS)


def test_each_text_has_its_section_with_every_word(whole: str) -> None:
    sections = re.findall(r'<section id="text-(\d+)">', whole)
    assert sections == [str(number) for number in range(1, len(EXPLANATIONS) + 1)]
    marks = len(re.findall(r"<mark", whole.partition("<section")[2]))
    assert marks == sum(map(len, EXPLANATIONS))
    assert "good film" not in whole and "<mark" in whole  # the words of a pair's first text are marked apart


def test_the_stronger_the_share_the_stronger_the_tint(whole: str) -> None:
    first = whole.partition('id="text-1"')[2].partition("</section>")[0]
    assert re.findall(r"<mark(?: class=\"(\w+)\" style=\"--share:([\d.]+)\")?>", first) == [
        ("", ""),
        ("for", "1.00"),
        ("", ""),
        ("against", "0.12"),
        ("against", "0.50"),
    ]
    assert "+0.4000" in first and "-0.2000" in first


def test_texts_are_escaped(whole: str) -> None:
    assert "<script" not in whole and "alert(&quot;x&quot;)" in whole and "label &lt;70&gt;" in whole
    assert "&lt;mask&gt;" in whole


def test_the_page_fetches_nothing(whole: str) -> None:
    assert re.findall(r'(?:src|href)="([^"#]+)"', whole) == ["data:,"]
    assert not re.search(r"@import|url\(", whole)


def test_labels_beyond_the_first_are_counted_and_the_explained_one_is_shown(whole: str) -> None:
    second = whole.partition('id="text-2"')[2].partition("</section>")[0]
    assert "and 68 more" in second and second.count('class="explained"') == 1


def test_no_explanations_make_a_page_too() -> None:
    assert "<section" not in page([])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_browser_shows_it(browser: Any, whole: str, tmp_path: Path, width: int, scheme: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(whole, encoding="utf-8")
    show(browser, path.as_uri(), width=width, scheme=scheme)
    edges = browser.execute_script(
        "return [...document.querySelectorAll('mark, th, td, svg, p')].map(e => e.getBoundingClientRect().right)"
    )
    assert len(edges) > 50 and max(edges) <= width
    bars = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(s => [s.clientWidth, s.clientHeight])"
    )
    assert all(wide > 50 and high > 5 for wide, high in bars)
    paper, tint = browser.execute_script(
        "return [document.body, document.querySelector('mark.for')].map(e => getComputedStyle(e).backgroundColor)"
    )
    assert tint not in (paper, "rgba(0, 0, 0, 0)")
