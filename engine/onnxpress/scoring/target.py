"""Where a job's output goes, and what it must not be."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import Final

from onnxpress.errors import ConfigError, JobError, OutputExistsError
from onnxpress.scoring.files import REJECTED, plain_url
from onnxpress.scoring.names import is_url, local_name
from onnxpress.scoring.options import STDIN, Compression, Format, ScoreOptions, format_of
from onnxpress.scoring.placing import mark_of
from onnxpress.watching.profile import is_replaceable

__all__ = ["Target", "find_profile", "find_target", "require_apart", "require_free", "require_replaceable"]

_PART: Final = re.compile(r"part-\d{6,}\.\w+(\.\w+)?")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the output goes, and in which format.

    Attributes:
        name: Its path or URL.
        rejects: That of the file of what was rejected.
        format, compression: What is written.
        is_folder: Whether it is a folder of parts.
        state: The folder of the journal and the parts, until the output is whole.
    """

    name: str
    rejects: str
    format: Format
    compression: Compression | None
    is_folder: bool
    state: Path


def find_target(output: str, source_format: Format, options: ScoreOptions) -> Target:
    """What `output` names; a folder's parts are of `source_format` unless another is asked for.

    Raises:
        ConfigError: It names no file or folder, no format, or a folder in an object store.
    """
    if "\0" in output or Path(output).name in ("", ".."):
        raise ConfigError(f"{output!r} names no output. Pass the name of a file, or of a folder for parts.")
    found, compression = format_of(output)
    is_folder = found is None and (output.endswith("/") or "." not in Path(output).name)
    if found == "txt" and options.output_format is None:
        raise ConfigError(
            f"{output}: a text file has no columns for the answers. End it with .csv, .jsonl or .parquet."
        )
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
    chosen = options.output_format or found or ("jsonl" if source_format == "txt" else source_format)
    return Target(
        name=output,
        rejects=f"{output.rstrip('/')}{REJECTED}",
        format=chosen,
        compression=None if chosen == "parquet" else compression,
        is_folder=is_folder,
        state=state,
    )


def require_apart(source: str, names: Sequence[str], target: Target) -> None:
    """Refuse an output that takes the place of the input, or would be read as input by the next run.

    Args:
        source: What was named as input.
        names: Its files.
        target: The output.

    Raises:
        ConfigError: A file of the input is the output, one of the job's own files, or in one of its folders; or the
            output lies in the folder `source`, or is matched by that glob.
    """
    for name in names:
        for own, what in ((target.name, "output"), (target.rejects, "file of what is rejected")):
            if name != STDIN and is_url(name) == is_url(own) and _is_same(name, own):
                raise ConfigError(f"{own}: the {what} is part of the input ({name}). Choose another output.")
        folders = [target.state, *([Path(target.name)] if target.is_folder else [])]
        if name != STDIN and not is_url(name):
            around = Path(name).resolve().parents
            if any(folder.resolve() in around for folder in folders):
                raise ConfigError(f"{target.name}: the output is part of the input ({name}). Choose another output.")
    if is_url(source) == is_url(target.name) and any(_takes(source, path) for path in _written(target)):
        raise ConfigError(
            f"{target.name}: the output lies where the input is read from ({source}), and would be read as data by the "
            "next run. Choose another output."
        )


def find_profile(name: str, source: str, names: Sequence[str], target: Target) -> Path:
    """The file `name` for a profile of a job that reads `source`, whose files are `names`.

    Raises:
        ConfigError: It is no local file in a folder that is there, is one that the job reads or writes, lies where
            the input is read from or in the output's folder, or holds something else than a profile.
    """
    local = local_name(name)
    if is_url(local) or "\0" in local or Path(local).name in ("", "..") or not Path(local).parent.is_dir():
        raise ConfigError(f"{name!r}: a profile must be a local file, in a folder that is there")
    used = [target.name, target.rejects, *(file for file in names if file != STDIN)]
    if any(not is_url(file) and _is_same(local, file) for file in used):
        raise ConfigError(f"{name}: the profile is a file that the job reads or writes. Choose another.")
    around = Path(local).resolve().parents
    folders = [target.state, *([Path(target.name)] if target.is_folder else [])]
    if any(folder.resolve() in around for folder in folders):
        raise ConfigError(f"{name}: the profile lies in the output's folder. Choose another.")
    if not is_url(source) and _takes(source, local):
        raise ConfigError(f"{name}: the profile lies where the input is read from ({source}). Choose another.")
    if not is_replaceable(Path(local)):
        raise ConfigError(f"{name} is there and is no profile, so it is not replaced. Choose another file.")
    return Path(local)


def require_free(target: Target) -> None:
    """Raise OutputExistsError when there is such an output, or a file of what was rejected."""
    for name in (target.name, target.rejects):
        if mark_of(name) is not None:
            raise OutputExistsError(name, "--restart (restart=True)")


def require_replaceable(target: Target) -> None:
    """Raise JobError when what lies at the output is not of its kind, a folder of parts or a file, or is a mount."""
    for name, is_folder in ((target.name, target.is_folder), (target.rejects, False)):
        path = Path(name)
        if is_url(name) or not path.exists():
            continue
        if path.is_dir() != is_folder:
            raise JobError(name, f"is a {'folder' if path.is_dir() else 'file'}. Choose another output.")
        if os.path.ismount(path):
            inside = f"such as {path / 'scored'}/" if is_folder else "of another file"
            raise JobError(name, f"is a mount point, which no output can take the place of. Choose a name {inside}.")
        children = sorted(child.name for child in path.iterdir()) if is_folder else []
        if foreign := [child for child in children if not _PART.fullmatch(child)]:
            raise JobError(name, f"holds {foreign[0]}, which no job has written. Choose another output.")


def _is_same(one: str, other: str) -> bool:
    if is_url(one):
        return plain_url(one) == plain_url(other)
    if os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other):
        return True
    return Path(one).resolve() == Path(other).resolve()


def _written(target: Target) -> Iterator[str]:
    """What another run may find: the output, or a part in it."""
    yield target.name
    if target.is_folder:
        yield f"{target.name.rstrip('/')}/part-000000.{target.format}"


def _takes(source: str, name: str) -> bool:
    """Whether `source`, a glob or a folder, takes the file `name`."""
    if is_url(source):
        pattern, path = plain_url(source), plain_url(name)
        if not has_magic(pattern):
            return path.startswith(pattern.rstrip("/") + "/")
        return _matches(pattern.split("/"), path.split("/"))
    if os.path.isdir(source):
        return Path(source).resolve() in Path(name).resolve().parents
    if os.path.exists(source) or not has_magic(source):
        return False
    return _matches(os.path.abspath(source).split(os.sep), os.path.abspath(name).split(os.sep))


def _matches(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return any(_matches(pattern[1:], parts[start:]) for start in range(len(parts) + 1))
    return fnmatchcase(parts[0], pattern[0]) and _matches(pattern[1:], parts[1:])
