"""What is written beside an artifact for other runtimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from onnxpress.artifacts.manifest import Manifest
from onnxpress_export.hub import FILES_NAME, write_hub
from onnxpress_export.triton import CONFIG_PATTERN, write_repository

__all__ = ["LAYOUTS", "Beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A directory beside the artifact.

    Attributes:
        suffix: What its name has behind the artifact's.
        made_here: A pattern of what it holds, by which it is known again.
        words: What it is.
        write: Writes the artifact whose files lie in a directory, of a name and with a manifest, into an empty one.
    """

    suffix: str
    made_here: str
    words: str
    write: Callable[[Path, str, Manifest, Path], None]

    def path(self, artifact: Path) -> Path:
        """Where that of `artifact` lies."""
        return artifact.with_name(f"{artifact.name}-{self.suffix}")


LAYOUTS: Final[Mapping[str, Beside]] = MappingProxyType(
    {
        "triton": Beside(
            suffix="triton", made_here=CONFIG_PATTERN, words="the Triton repository", write=write_repository
        ),
        "hub": Beside(suffix="hub", made_here=FILES_NAME, words="the Hub's folder", write=write_hub),
    }
)
"""By what `--layout` calls them."""
