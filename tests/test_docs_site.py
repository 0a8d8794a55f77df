"""The site: every page has its place, generated pages say what there is, and it is built without a warning."""

from __future__ import annotations

import os
import re
import subprocess
import venv
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from docs_site.command_page import command_page
from docs_site.examples_page import examples_page
from docs_site.packages import Package, draw_packages, packages_of

from onnxpress.cli.main import app

ROOT = Path(__file__).parents[1]
GENERATED = {"commands.md", "examples.md"}


def pages_of(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for inner in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from pages_of(inner)


def test_every_page_has_one_place() -> None:
    nav = list(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    there = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert sorted(nav) == sorted(there | GENERATED)


def test_the_commands_page_has_every_command_and_option() -> None:
    page = command_page()

    def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None) or {}
        yield from [] if inner else [(name, command)]
        for word, one in inner.items():
            yield from commands(one, f"{name} {word}")

    for name, command in commands(typer.main.get_command(app), "onnxpress"):
        section = page.partition(f"## `{name}`\n")[2].partition("\n## ")[0]
        assert section, name
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" and parameter.name != "help" else ():
                assert f"`{option}`" in section, (name, option)
    assert "## `onnxpress serve`" in page and "`--workers`" in page and "## `onnxpress bench picture`" in page


def test_the_api_page_has_every_public_name() -> None:
    import onnxpress

    page = (ROOT / "docs/api.md").read_text()
    named = {target.rpartition(".")[2] for target in re.findall(r"^::: (\S+)", page, re.MULTILINE)}
    errors = {name for name in onnxpress.__all__ if name.endswith("Error")}  # of the one module onnxpress.errors
    assert "errors" in named and set(onnxpress.__all__) - errors - {"__version__", "Text"} <= named


def test_the_examples_page_has_every_file() -> None:
    page = examples_page()
    for path in (ROOT / "examples").rglob("*.*"):
        if "__pycache__" not in path.parts:
            assert f"## `{path.relative_to(ROOT / 'examples').as_posix()}`" in page
    for page_name in (ROOT / "docs").glob("*.md"):
        for target in re.findall(r"\]\(\.\./examples/([\w./-]*)\)", page_name.read_text()):
            assert f"{{ #{target.strip('/').replace('/', '-').replace('.', '-')} }}" in page, target


def test_the_drawing_shows_every_package_apart() -> None:
    packages = packages_of()
    assert {"onnxpress.serving.http", "onnxpress_export.passes", "onnxpress_bench.html"} <= {
        one.name for one in packages
    }
    root = ET.fromstring(draw_packages(packages))
    boxes = [box for box in root.iter("{http://www.w3.org/2000/svg}rect") if box.attrib["class"] == "box"]
    assert len({(box.attrib["x"], box.attrib["y"]) for box in boxes}) == len(packages)


def test_a_circle_of_imports_is_drawn_too() -> None:
    circle = [Package(name, frozenset({after})) for name, after in (("a.x", "a.y"), ("a.y", "a.z"), ("a.z", "a.x"))]
    drawn = draw_packages([Package("a", frozenset({"a.x", "b"})), *circle])
    assert drawn.count('class="arrow') == 4 and drawn.count('class="arrow up"') >= 1


def test_dependencies_point_one_way() -> None:
    for package in packages_of():
        foreign = {target.partition(".")[0] for target in package.imports} - {package.root}
        assert foreign <= {"onnxpress"}, package.name


@pytest.mark.network
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip = [scripts / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", f"{ROOT}[cpu,docs]"], check=True, timeout=600)
    build = [scripts / "python", "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4_000:]
    page = (tmp_path / "site/api.html").read_text(encoding="utf-8")
    assert "optimize_for" in page and "OverloadedError" in page
    found = " ".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site").glob("*.html"))
    assert "fonts.googleapis" not in found and '<script src="https://' not in found
