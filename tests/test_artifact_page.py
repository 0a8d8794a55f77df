"""The artifact's specification says what the manifest holds, and its reader reads."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

import onnxpress
from onnxpress.artifacts import manifest as schema
from onnxpress.artifacts.manifest import Manifest
from onnxpress.running.first_stage import FORMAT

PAGE = (Path(__file__).parents[1] / "docs/artifact.md").read_text(encoding="utf-8")


def structs_of(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """Every Struct that `kind` mentions, itself first."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for field in get_type_hints(kind).values():
            yield from structs_of(field)
    for inner in get_args(kind):
        yield from structs_of(inner)


STRUCTS = list(dict.fromkeys(structs_of(Manifest)))


def test_every_record_has_its_table() -> None:
    assert sorted(re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)) == sorted(kind.__name__ for kind in STRUCTS)


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_the_table_has_every_field_in_order_with_its_default(kind: type[msgspec.Struct]) -> None:
    table = PAGE.partition(f"### `{kind.__name__}`\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.MULTILINE)
    assert [name for name, _ in rows] == list(kind.__struct_fields__)
    optional = {field.name for field in msgspec.structs.fields(kind) if not field.required}
    assert {name for name, type_ in rows if " = " in type_} == optional


def test_limits_and_choices_are_those_of_the_code() -> None:
    assert f"Schema {schema.SCHEMA_VERSION}." in PAGE and schema._MAX_MANIFEST_BYTES == 16 * 2**20
    assert f"`{schema._FILE_NAME.pattern}`" in PAGE
    for kind in (schema.Task, schema.ProblemType, schema.Activation, schema.Target):
        assert all(f"`{choice}`" in PAGE for choice in get_args(kind)), kind
    for name, kind, _ in FORMAT:
        assert f"`{name}` {kind.name}" in re.sub(r"\s+", " ", PAGE)


@pytest.mark.parametrize("text", ["good film", "", "a bad plot and a dull end " * 60])
def test_the_reader_answers_as_the_engine(artifact: Path, text: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "onnxpress" not in re.sub(r"onnxpress\.json", "", code)
    done = subprocess.run([sys.executable, "-c", code, artifact, text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    label, score = done.stdout.split()
    with onnxpress.load(artifact, threads=1) as classifier:
        wanted = classifier(text)
    assert label == wanted.label and float(score) == pytest.approx(wanted.score, abs=1e-5)


def test_the_reader_refuses_a_changed_file(artifact: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for path in artifact.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.onnx_data"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    done = subprocess.run([sys.executable, "-c", code, tmp_path, "good"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "model.onnx_data has changed" in done.stderr
