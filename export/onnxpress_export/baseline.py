"""The profile of the sample, by which `onnxpress drift` tells whether today's texts are others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxpress.artifacts.manifest import Manifest
from onnxpress.inputs.texts import Text
from onnxpress.loading import load
from onnxpress.watching.observe import observer_of
from onnxpress.watching.profile import PROFILE_NAME, profile_of, write_profile

__all__ = ["write_baseline"]


def write_baseline(artifact: Path, manifest: Manifest, texts: Sequence[Text]) -> None:
    """Write the profile of `texts`, as a scoring job on this CPU answers them, into the directory `artifact`.

    All of its files are there but this one, with `manifest` among them.
    """
    with load(artifact, device="cpu", optimize_for="throughput", spinning=False) as model:
        observer = observer_of(model)
        (parts,) = model.stream_answered([texts])
        write_profile(artifact / PROFILE_NAME, profile_of(manifest, observer.counts(parts)))
