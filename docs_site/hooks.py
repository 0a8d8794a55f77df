"""mkdocs' hooks: pages that are generated, and links to files beside docs/."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs_site.command_page import command_page
from docs_site.examples_page import examples_page
from docs_site.packages import draw_packages, packages_of

__all__ = ["on_files", "on_page_markdown"]

_OUTSIDE: Final = re.compile(r"\]\(\.\./examples/([\w./-]*)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    pages = {
        "commands.md": command_page(),
        "examples.md": examples_page(),
        "packages.svg": draw_packages(packages_of()),
    }
    for name, content in pages.items():
        if (known := files.get_file_from_path(name)) is not None:
            files.remove(known)
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to examples lead to the page that shows them."""
    return _OUTSIDE.sub(
        lambda found: f"](examples.md#{found[1].strip('/').replace('/', '-').replace('.', '-')})", markdown
    )
