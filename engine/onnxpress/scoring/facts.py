"""Everything that decides what a job's output is, so that no other job goes on with its parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from onnxpress.artifacts.artifact import Artifact
from onnxpress.artifacts.manifest import encode_manifest
from onnxpress.errors import JobChangedError
from onnxpress.hardware.machine import vector_extensions
from onnxpress.scoring.engine import EngineSettings
from onnxpress.scoring.files import InputFile
from onnxpress.scoring.names import printable
from onnxpress.scoring.options import ScoreOptions

__all__ = ["job_facts", "require_same_facts"]

_VERSIONED: Final = ("onnxpress", "onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy", "pyarrow")


def job_facts(
    artifact: Artifact, engine: EngineSettings, files: Sequence[InputFile], formats: str, options: ScoreOptions
) -> dict[str, Any]:
    """The facts of a job, by name; JSON can hold them.

    Args:
        artifact: What classifies.
        engine: How.
        files: What is read.
        formats: Names the input's and the output's format.
        options: What is asked for.
    """
    facts = {
        "artifact": hashlib.sha256(encode_manifest(artifact.manifest)).hexdigest(),
        "columns": options.columns,
        "CPU's vector extensions": vector_extensions(),
        "formats": formats,
        "input": [msgspec.structs.replace(file, name=printable(file.name)) for file in files],
        "on_bad_row": options.on_bad_row,
        "quoted_tsv": options.quoted_tsv,
        "pair_column": options.pair_column,
        "text_column": options.text_column,
        **({} if options.zero_shot_labels is None else _zero_shot_facts(options)),
        **engine.facts(),
        **{f"version of {package}": _version(package) for package in _VERSIONED},
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(facts))
    return plain


def _zero_shot_facts(options: ScoreOptions) -> dict[str, Any]:
    return {
        "zero_shot_labels": options.zero_shot_labels,
        "template": options.template,
        "multi_label": options.multi_label,
    }


def require_same_facts(begun: dict[str, Any], now: dict[str, Any], on_bad_row: str, output: str) -> None:
    """Refuse to go on with other facts than `begun`.

    What is done with bad rows may change from "error", since no part holds any then; `on_bad_row` is what was last
    done.

    Raises:
        JobChangedError: Tells what changed.
    """
    begun = begun | {"on_bad_row": now["on_bad_row"] if on_bad_row == "error" else on_bad_row}
    changed = [
        _change(name, begun.get(name), now.get(name))
        for name in sorted(begun | now)
        if begun.get(name) != now.get(name)
    ]
    if changed:
        raise JobChangedError(
            output,
            f"what is committed was made otherwise: {'; '.join(changed)}. Restore that, or pass --restart "
            "(restart=True) to begin again.",
        )


def _change(name: str, begun: Any, now: Any) -> str:
    if name != "input":
        return f"{name} was {begun!r}, is {now!r}"
    before, after = ({file["name"]: file for file in files} for files in (begun, now))
    for file in sorted(before.keys() | after.keys()):
        if file not in after or file not in before:
            return f"the input file {file} is {'gone' if file in before else 'new'}"
        for field, word in (("bytes", "size"), ("digest", "content"), ("modified", "time of modification")):
            if before[file][field] != after[file][field]:
                return f"the input file {file} changed ({word})"
    return "the order of the input files changed"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
