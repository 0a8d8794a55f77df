"""The pages: every figure is there, nothing is fetched, and a browser shows them on a phone and on a desk."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

import onnxpress
from onnxpress_bench.history import history_page, read_history
from onnxpress_bench.html.figures import figures_of, share_limits
from onnxpress_bench.html.page import report
from onnxpress_bench.result import BenchResult, encode_result
from tests.browser import SCHEMES, WIDTHS, show

FIGURES = ["latency", "throughput", "load", "lengths", "roofline", "answers"]


@pytest.fixture(scope="module")
def page(result: BenchResult) -> str:
    return report([("first <run>.json", result), ("second.json", result)])


def test_every_figure_of_every_result_is_on_the_page(page: str, result: BenchResult) -> None:
    assert re.findall(r'<figure id="([^"]+)">', page) == [f"r{n}-{name}" for n in (1, 2) for name in FIGURES]
    for system in result.systems:
        assert page.count(system.spec.name) > 2 * len(FIGURES)  # in each legend, and in the tables
    assert "first &lt;run&gt;.json" in page and result.machine.cpu in page


def test_the_page_fetches_nothing(page: str) -> None:
    sources = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert sources == ["data:,"]
    assert not re.search(r"<script|@import|url\((?!#)", page)


def test_names_are_not_used_twice(page: str) -> None:
    class Names(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [value for name, value in attrs if name == "id" and value]

    parser = Names()
    parser.feed(page)
    assert parser.found and len(parser.found) == len(set(parser.found))


def test_colours_are_the_pages(page: str) -> None:
    inside = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--series-1)" in inside and "var(--ink)" in inside
    assert not re.search(r"#(?:[0-9a-f]{6})\b", inside)


def test_a_void_result_says_so(result: BenchResult) -> None:
    ratio = msgspec.structs.replace(result.control[0].ratio, low=1.01, value=1.05, high=1.1, pairs=8)
    void = msgspec.structs.replace(result, control=[msgspec.structs.replace(result.control[0], ratio=ratio)])
    assert "Void: the machine told a system from itself." in report([("void.json", void)])


def test_what_was_not_measured_is_left_out(result: BenchResult) -> None:
    bare = [
        msgspec.structs.replace(s, sweep=[], measurements=[m for m in s.measurements if m.load.rate is None])
        for s in result.systems
    ]
    page = report([("bare.json", msgspec.structs.replace(result, systems=bare, model_flops=None))])
    assert re.findall(r'<figure id="r1-([^"]+)">', page) == ["latency", "throughput", "answers"]


@pytest.mark.parametrize(
    ("percents", "least"), [((100.0, 100.0), 99.0), ((99.5, 100.0), 98.5), ((40.0, 100.0), 31.0), ((0.0, 3.0), 0.0)]
)
def test_an_axis_of_shares_ends_at_all(percents: tuple[float, ...], least: float) -> None:
    assert share_limits(percents) == (pytest.approx(least), 100.0)


def test_a_system_has_one_colour_in_all_figures(result: BenchResult) -> None:
    """Bars are drawn in the colour of their system's lines and marks."""
    drawn = {figure.name: figure.svg for figure in figures_of(result, "")}
    wanted = [f"var(--series-{index + 1})" for index in range(len(result.systems))]
    for name in ("latency", "throughput", "load", "roofline", "answers"):
        found = set(re.findall(r"var\(--series-\d\)", drawn[name]))
        assert found == set(wanted), name


def test_the_axis_of_shares_of_requests_ends_at_all(result: BenchResult) -> None:
    (latency,) = [figure for figure in figures_of(result, "") if figure.name == "latency"]
    ticks = [int(tick) for tick in re.findall(r">(\d+)%</text>", latency.svg)]
    assert ticks and max(ticks) == 100


def test_names_with_dollar_signs_are_drawn_as_they_are(result: BenchResult) -> None:
    spec = msgspec.structs.replace(result.systems[0].spec, name="a$b_{$c")
    systems = [msgspec.structs.replace(result.systems[0], spec=spec), *result.systems[1:]]
    assert "a$b_{$c" in report([("x.json", msgspec.structs.replace(result, systems=systems))])


@pytest.fixture
def results(result: BenchResult, tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    other = msgspec.structs.replace(result.machine, cpu="another")
    for name, changes in {
        "b": {"created": "2026-01-02T00:00:00+00:00", "commit": "b" * 40},
        "a": {"created": "2026-01-03T00:00:00+00:00", "commit": "a" * 40},
        "elsewhere": {"created": "2026-01-01T00:00:00+00:00", "machine": other},
    }.items():
        (folder / f"{name}.json").write_bytes(encode_result(msgspec.structs.replace(result, **changes)))
    return folder


def test_history_goes_by_time_and_leaves_out_other_machines(results: Path) -> None:
    found = read_history(results)
    assert [name for name, _ in found] == ["elsewhere.json", "b.json", "a.json"]
    page = history_page(found)
    assert re.findall(r'<figure id="history-([^"]+)">', page) == [
        "throughput",
        "single-request",
        "cold-start",
        "peak-memory",
    ]
    assert "Left out, measured on another machine or on other texts: elsewhere.json." in page
    assert page.index("bbbbbbb") < page.index("aaaaaaa")


def test_no_history_is_told(tmp_path: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match=r"holds no \.json result"):
        read_history(tmp_path)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("which", ["report", "history"])
def test_a_browser_shows_it(
    browser: Any, page: str, results: Path, tmp_path: Path, width: int, scheme: str, which: str
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page if which == "report" else history_page(read_history(results)), encoding="utf-8")
    show(browser, path.as_uri(), width=width, scheme=scheme)
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].map(s => [s.clientWidth, s.clientHeight,"
        " s.querySelectorAll('path').length])"
    )
    assert len(boxes) == (2 * len(FIGURES) if which == "report" else 4)
    assert all(0.6 * min(width, 560) < wide <= width and high > 100 and paths > 5 for wide, high, paths in boxes)
