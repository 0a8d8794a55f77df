"""The README's picture: figures of a result, drawn for light and for dark pages."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

import onnxpress
from onnxpress.cli.main import app
from onnxpress_bench.compare import THROUGHPUT
from onnxpress_bench.html.picture import (
    DARK,
    LIGHT,
    Shown,
    ShownSystem,
    draw_picture,
    encode_shown,
    read_shown,
    shown_of,
)
from onnxpress_bench.result import BenchResult, encode_result
from onnxpress_bench.table import throughput

DOCS = Path(__file__).parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


def shown(*names: str, **changes: object) -> Shown:
    systems = [
        ShownSystem(name=name, ours=not index, texts_per_second=100.0 * (index + 1), p50_ms=2.5, cold_start_s=0.1)
        for index, name in enumerate(names)
    ]
    return Shown(systems=systems, note="Some texts on some machine.")


def test_a_results_figures_are_those_of_its_table(result: BenchResult) -> None:
    found = shown_of(result)
    assert [system.name for system in found.systems] == [system.spec.name for system in result.systems]
    for system, of in zip(found.systems, result.systems, strict=True):
        assert system.texts_per_second == pytest.approx(throughput(of, result.texts.count), rel=1e-3)
        assert system.ours == (of.spec.kind == "engine")
    assert any(system.ours for system in found.systems) and not all(system.ours for system in found.systems)
    assert f"{result.texts.count:,} texts" in found.note and result.machine.cpu in found.note


def test_systems_are_chosen_by_name(result: BenchResult) -> None:
    last = result.systems[-1].spec.name
    assert [system.name for system in shown_of(result, [last]).systems] == [last]
    with pytest.raises(onnxpress.ConfigError, match="'none' is no system of this result"):
        shown_of(result, ["none"])


def test_a_void_result_is_not_drawn(result: BenchResult) -> None:
    ratio = msgspec.structs.replace(result.comparisons[0].ratio, value=1.5, low=1.4, high=1.6, pairs=20)
    control = [msgspec.structs.replace(result.comparisons[0], metric=THROUGHPUT, ratio=ratio)]
    with pytest.raises(onnxpress.ConfigError, match="void"):
        shown_of(msgspec.structs.replace(result, control=control))


def test_bars_are_as_long_as_their_figures() -> None:
    root = ET.fromstring(draw_picture(shown("ours", "another"), LIGHT))
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect")]
    assert len(widths) == 6 and widths[0] / widths[1] == pytest.approx(0.5, abs=0.01) and widths[2] == widths[3]
    size = float(root.attrib["width"])
    assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) < size for bar in root.iter(f"{SVG}rect"))


def test_what_was_not_measured_has_a_dash() -> None:
    one = msgspec.structs.replace(shown("a").systems[0], p50_ms=None)
    assert ">–</text>" in draw_picture(Shown(systems=[one], note=""), LIGHT)


def test_names_are_escaped_and_shortened() -> None:
    drawn = draw_picture(shown('<script>"&', "a very long name of a system that nobody would want to read"), DARK)
    texts = [text.text for text in ET.fromstring(drawn).iter(f"{SVG}text")]
    assert '<script>"&' in texts and max(len(text or "") for text in texts[:2]) <= 33 and "<script" not in drawn


def test_light_and_dark_differ_in_colours_alone() -> None:
    light, dark = (re.sub(r"#[0-9a-f]{6}", "", draw_picture(shown("a", "b"), theme)) for theme in (LIGHT, DARK))
    assert light == dark and not re.search(r"(?:src|href)=|url\(|<style|@import", light)


def test_the_command_writes_both_and_what_they_show(result: BenchResult, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(encode_result(result))
    for source in ("r.json", "m.json"):  # what it wrote may be drawn again
        done = CliRunner().invoke(app, ["bench", "picture", str(tmp_path / source), "-o", str(tmp_path / "m")])
        assert done.exit_code == 0, done.output
        assert [Path(line).name for line in done.stdout.split()] == ["m-light.svg", "m-dark.svg", "m.json"]
        assert (tmp_path / "m-dark.svg").read_text() == draw_picture(shown_of(result), DARK)


@pytest.mark.parametrize("content", ["", "{}", '{"systems": [], "note": ""}', '{"systems": 1}', "[]"])
def test_what_is_no_result_is_told_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    done = CliRunner().invoke(app, ["bench", "picture", str(tmp_path / "r.json"), "-o", str(tmp_path / "m")])
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1 and not (tmp_path / "m.json").exists()


def test_the_readmes_picture_is_that_of_its_figures() -> None:
    found = read_shown(DOCS / "measured.json")
    assert (DOCS / "measured.json").read_bytes() == encode_shown(found)
    assert (DOCS / "measured-light.svg").read_text() == draw_picture(found, LIGHT)
    assert (DOCS / "measured-dark.svg").read_text() == draw_picture(found, DARK)
