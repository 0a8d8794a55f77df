"""Where a job's output goes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onnxpress.errors import ConfigError, JobError, OutputExistsError
from onnxpress.scoring.files import is_url, plain_url, url_exists
from onnxpress.scoring.options import STDIN, Compression, Format, ScoreOptions, format_of

__all__ = ["Target", "find_target", "require_apart", "require_free", "require_replaceable"]

_PART: Final = re.compile(r"part-\d{6,}\.\w+")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the output goes, and in which format.

    Attributes:
        name: Its path or URL.
        format, compression: What is written.
        is_folder: Whether it is a folder of parts.
        state: The folder of the journal and the parts, until the output is whole.
    """

    name: str
    format: Format
    compression: Compression | None
    is_folder: bool
    state: Path


def find_target(output: str, source_format: Format, options: ScoreOptions) -> Target:
    """What `output` names; a folder's parts are of `source_format` unless another is asked for.

    Raises:
        ConfigError: It names no format, or a folder in an object store.
    """
    found, compression = format_of(output)
    is_folder = found is None and (output.endswith("/") or "." not in Path(output).name)
    if found is None and not is_folder and options.output_format is None:
        raise ConfigError(
            f"{output}: its name tells no format. End it with .csv, .tsv, .jsonl (and .gz or .zst) or .parquet, "
            "or with / for a folder of parts."
        )
    if is_folder and is_url(output):
        raise ConfigError(f"{output}: a URL must name a file, not a folder of parts.")
    path = Path(output.rstrip("/"))
    if is_url(output):
        mark = hashlib.sha256(plain_url(output).encode()).hexdigest()[:8]  # two stores may have files of one name
        state = Path(f".{path.name}-{mark}.onnxpress")
    else:
        state = path.with_name(f".{path.name}.onnxpress")
    chosen = options.output_format or found or source_format
    return Target(output, chosen, None if chosen == "parquet" else compression, is_folder, state)


def require_apart(names: Sequence[str], target: Target) -> None:
    """Raise ConfigError when one of the input's files `names` is the output, or lies in it."""
    for name in names:
        if name == STDIN or is_url(name) != is_url(target.name):
            inside = False
        elif is_url(name):
            inside = name == plain_url(target.name)
        else:
            output = Path(target.name).resolve()
            inside = output == Path(name).resolve() or (target.is_folder and output in Path(name).resolve().parents)
        if inside:
            raise ConfigError(f"{target.name}: the output is part of the input ({name}). Choose another output.")


def require_free(target: Target) -> None:
    """Raise OutputExistsError when there is such an output."""
    if url_exists(target.name) if is_url(target.name) else Path(target.name).exists():
        raise OutputExistsError(target.name, "--restart (restart=True)")


def require_replaceable(target: Target) -> None:
    """Raise JobError when what lies at the output is not of its kind: a folder of parts, or a file."""
    path = Path(target.name)
    if is_url(target.name) or not path.exists():
        return
    if path.is_dir() != target.is_folder:
        raise JobError(target.name, f"is a {'folder' if path.is_dir() else 'file'}. Choose another output.")
    foreign = sorted(child.name for child in path.iterdir() if not _PART.fullmatch(child.name)) if path.is_dir() else []
    if foreign:
        raise JobError(target.name, f"holds {foreign[0]}, which no job has written. Choose another output.")
