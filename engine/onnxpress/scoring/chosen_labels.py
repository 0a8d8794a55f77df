"""The labels that a job chooses from: the artifact's, or some that come with the job."""

from __future__ import annotations

import msgspec

from onnxpress.artifacts.manifest import Manifest
from onnxpress.scoring.options import ScoreOptions
from onnxpress.tasks.zero_shot import TEMPLATE, Hypotheses, read_hypotheses
from onnxpress.zero_shot_classifier import scores_of

__all__ = ["chosen_labels"]


def chosen_labels(manifest: Manifest, options: ScoreOptions) -> tuple[Hypotheses | None, Manifest]:
    """What is asked of each text, None for the model's own labels; and the manifest with the labels of the answers.

    Raises:
        ConfigError: The model does not judge labels, or these cannot be asked for.
    """
    if options.zero_shot_labels is None:
        return None, manifest
    template = TEMPLATE if options.template is None else options.template
    found = read_hypotheses(manifest.labels, options.zero_shot_labels, template, multi_label=options.multi_label)
    problem = "multi_label_classification" if found.independent else "single_label_classification"
    return found, msgspec.structs.replace(
        manifest, labels=found.labels, problem_type=problem, activation=scores_of(found), thresholds=None
    )
