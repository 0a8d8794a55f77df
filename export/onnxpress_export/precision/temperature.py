"""The scores of a model beside the sample's labels; and the temperature that makes them shares of right answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxpress.answers.calibration import fit_temperature, reliability_of
from onnxpress.answers.fidelity import right_labels
from onnxpress.artifacts.calibration_record import Calibration, Reliability
from onnxpress.artifacts.manifest import Activation
from onnxpress.errors import ConfigError
from onnxpress.examples import Example
from onnxpress_export.precision.sample import Sample
from onnxpress_export.precision.trial import Trial

__all__ = ["Scores", "judge_scores", "require_labels"]

_LEAST_LABELLED: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What is known of a model's scores: the manifest's fields of these names, and why there is no temperature."""

    reliability: Reliability | None = None
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()

    @property
    def temperature(self) -> float:
        """What logits are divided by before scores are made of them."""
        return 1.0 if self.calibration is None else self.calibration.temperature


def require_labels(sample: Sample | None, activation: Activation) -> None:
    """Raise ConfigError where no temperature can be found: a regression, no sample, or one with too few labels."""
    if activation == "identity":
        raise ConfigError("a regression has values, no scores that could be calibrated. Leave --calibrate out.")
    parts = [] if sample is None else [_labelled(sample.seen), _labelled(sample.unseen)]
    if not parts or min(map(len, parts)) < _LEAST_LABELLED:
        raise ConfigError(
            f"{sum(map(len, parts)):,} texts of --sample have a label; --calibrate needs {_LEAST_LABELLED} to find the "
            f"temperature and {_LEAST_LABELLED} others to measure it. Bring a sample with labels, or leave it out."
        )


def judge_scores(
    sample: Sample, model: ir.Model, folder: Path, labels: Sequence[str], activation: Activation, *, calibrate: bool
) -> Scores:
    """Hold the scores of `model`, whose weights lie in `folder`, against the right labels of the unseen texts.

    `calibrate` asks for a temperature, which the seen texts tell.
    """
    if activation == "identity" or (unseen := _judged(sample.unseen, sample, model, folder, labels)) is None:
        return Scores()
    before = reliability_of(*unseen, activation)
    seen = _judged(sample.seen, sample, model, folder, labels) if calibrate else None
    if seen is None:
        return Scores(reliability=before)
    temperature = fit_temperature(*seen, activation)
    after = reliability_of(unseen[0] / np.float32(temperature), unseen[1], activation)
    if after.error >= before.error or after.log_loss >= before.log_loss:
        note = (
            f"a temperature of {temperature:.3g}, found on {len(seen[0]):,} texts, was left out: on {before.texts:,} "
            f"others the expected calibration error would go from {before.error:.2%} to {after.error:.2%}, the log "
            f"loss from {before.log_loss:.4g} to {after.log_loss:.4g}"
        )
        return Scores(reliability=before, notes=(note,))
    found = Calibration(temperature=temperature, fitted=len(seen[0]), reliability=after)
    return Scores(reliability=before, calibration=found)


def _judged(
    examples: Sequence[Example], sample: Sample, model: ir.Model, folder: Path, labels: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Of those of the sample's `examples` that have a label: logits, and the right labels; both [texts, labels]."""
    known = _labelled(examples)
    if not known:
        return None
    rows = sample.encoder.encode([example.text for example in known])
    return Trial(rows, folder).logits(model), right_labels(known, labels)


def _labelled(examples: Sequence[Example]) -> list[Example]:
    return [example for example in examples if example.label is not None]
