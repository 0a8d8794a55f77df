"""The model card of a Hub folder: what is in it, what was proved of it, and how to open it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnxpress.answers.fidelity import certainty
from onnxpress.artifacts.manifest import Manifest, Variant

__all__ = ["HubGraph", "write_card"]

_DTYPES: Final = {"fp32": "fp32", "fp16": "fp16", "int8": "q8"}
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_SHOWN_LABELS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HubGraph:
    """A graph as it lies in a Hub folder's `onnx/`.

    Attributes:
        file: Its name there.
        variant: What it was written from.
        size: Bytes, weights that lie beside it included.
        weights_inside: Whether they lie in the file itself.
        opset: Of ONNX's own operators.
        foreign: The operators of other domains, by domain.
    """

    file: str
    variant: Variant
    size: int
    weights_inside: bool
    opset: int
    foreign: Mapping[str, tuple[str, ...]]

    @property
    def dtype(self) -> str:
        """What transformers.js calls it."""
        return _DTYPES[self.variant.precision]


def write_card(folder: Path, name: str, manifest: Manifest, graphs: Sequence[HubGraph]) -> None:
    """Write README.md for `graphs`, which `manifest` has the proofs of, into `folder`."""
    environment = Environment(
        loader=PackageLoader("onnxpress_export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(cell=_cell, quoted=json.dumps)
    foreign: dict[str, set[str]] = {}
    for graph in graphs:
        for domain, operators in graph.foreign.items():
            foreign.setdefault(domain, set()).update(operators)
    card = environment.get_template("card.md.jinja").render(
        name=name,
        manifest=manifest,
        base=manifest.provenance.source if _HUB_ID.fullmatch(manifest.provenance.source) else None,
        graphs=graphs,
        certainty=certainty,
        foreign={domain: sorted(operators) for domain, operators in sorted(foreign.items())},
        shown=manifest.labels[:_SHOWN_LABELS],
        target=next((graph.variant.target for graph in graphs if graph.variant.target), None),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _cell(text: str) -> str:
    """`text` as it stands, within a table's cell or a line of Markdown."""
    plain = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$&])", r"\\\1", plain)
