"""What a manifest may say of a cascade, and what is refused at load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onnxpress.artifacts.cascade_record import Cascade
from onnxpress.artifacts.manifest import read_manifest
from onnxpress.errors import ArtifactSchemaError
from tests.conftest import edit_json

GOOD: dict[str, Any] = {
    "stages": ["int8", "fp32"],
    "thresholds": {"int8": 0.41},
    "answered": {"int8": 0.98, "fp32": 0.02},
    "changed": {"texts": 3_000, "changed": 1, "upper_95": 0.0016, "alone": 9},
}
THREE = {
    "stages": ["first", "int8", "fp32"],
    "thresholds": {"first": 0.93, "int8": 0.41},
    "answered": {"first": 0.54, "int8": 0.45, "fp32": 0.01},
}


def decoded(**changes: object) -> Cascade:
    return msgspec.json.decode(msgspec.json.encode({**GOOD, **changes}), type=Cascade)


@pytest.mark.parametrize("changes", [{}, THREE, {"thresholds": {"int8": 0.0}}, {"thresholds": {"int8": 3}}])
def test_what_may_be_said(changes: dict[str, object]) -> None:
    found = decoded(**changes)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Cascade) == found


BAD: dict[str, tuple[dict[str, object], str]] = {
    "negative": ({"thresholds": {"int8": -0.1}}, "threshold of int8 must be a finite number of at least 0"),
    "null": ({"thresholds": {"int8": None}}, "Expected `float`, got `null`"),
    "text": ({"thresholds": {"int8": "NaN"}}, "Expected `float`, got `str`"),
    "missing": ({"thresholds": {}}, "must have a threshold for int8, got none"),
    "of the last stage": ({"thresholds": {"int8": 1, "fp32": 1}}, "must have a threshold for int8"),
    "of another": ({"thresholds": {"first": 1}}, "must have a threshold for int8, got first"),
    "no fp32": ({"stages": ["first", "int8"]}, "fp32 the last"),
    "alone": ({"stages": ["fp32"], "thresholds": {}}, "fp32 the last"),
    "out of order": ({**THREE, "stages": ["int8", "first", "fp32"]}, "in this order"),
    "twice": ({"stages": ["int8", "int8", "fp32"]}, "in this order"),
    "unknown": ({"stages": ["int4", "fp32"]}, "Invalid enum value"),
    "shares": ({"answered": {"int8": 0.9, "fp32": 0.2}}, "must sum to 1"),
    "a share": ({"answered": {"int8": 1.0}}, "share of the texts each stage answers"),
    "counts": ({"changed": {**GOOD["changed"], "changed": 3_001}}, "no such share"),
    "a bound": ({"changed": {**GOOD["changed"], "upper_95": 1.5}}, "no such share"),
    "a field": ({"more": 1}, "unknown field"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str) -> None:
    changes, says = BAD[name]
    with pytest.raises(msgspec.ValidationError, match=says):
        decoded(**changes)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-1", "null"])
def test_a_manifest_with_a_threshold_that_is_no_number_does_not_load(
    artifact: Path, tmp_path: Path, number: str
) -> None:
    copy = shutil.copytree(artifact, tmp_path / "artifact")
    edit_json(copy / "onnxpress.json", lambda content: content.update(cascade=GOOD))
    path = copy / "onnxpress.json"
    path.write_text(path.read_text().replace(json.dumps(GOOD["thresholds"]), f'{{"int8": {number}}}'))
    with pytest.raises(ArtifactSchemaError, match=r"not a valid manifest .* Export again"):
        read_manifest(copy)


def test_a_cascade_goes_through_variants_that_are_there(artifact: Path, tmp_path: Path) -> None:
    assert read_manifest(artifact).cascade is None
    copy = shutil.copytree(artifact, tmp_path / "artifact")
    edit_json(copy / "onnxpress.json", lambda content: content.update(cascade=GOOD))
    with pytest.raises(ArtifactSchemaError, match="the cascade goes through int8, which is no variant"):
        read_manifest(copy)
