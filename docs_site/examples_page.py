"""Every file of examples/, as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["examples_page"]

_FOLDER: Final = Path(__file__).parents[1] / "examples"
_LANGUAGES: Final = {".py": "python", ".yml": "yaml", ".yaml": "yaml", ".service": "ini"}


def examples_page(folder: Path = _FOLDER) -> str:
    """A Markdown page, with a heading for each folder and file whose anchor is its path."""
    words = ["# Examples", "", "The files of `examples/`."]
    for path in sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts):
        name = path.relative_to(folder).as_posix()
        words += ["", f"## `{name}` {{ #{name.replace('/', '-').replace('.', '-')} }}"]
        if path.is_file():
            words += [
                "",
                f"````{_LANGUAGES.get(path.suffix, 'text')}",
                path.read_text(encoding="utf-8").rstrip(),
                "````",
            ]
    return "\n".join(words) + "\n"
