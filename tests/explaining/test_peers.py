"""SHAP's and LIME's own ways to explain texts take the classifier as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxpress

TEXT = "a good film but the plot is dull"


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Iterator[onnxpress.Classifier]:
    with onnxpress.load(artifact, threads=1) as loaded:
        yield loaded


@pytest.mark.filterwarnings("default")  # theirs
def test_shap_plots_its_own_explanation_of_probabilities(classifier: onnxpress.Classifier) -> None:
    shap = pytest.importorskip("shap")
    explainer: Any = shap.Explainer(
        lambda texts: classifier.probabilities([str(text) for text in texts]),
        shap.maskers.Text(r"\W"),
        output_names=list(classifier.labels),
    )
    found = explainer([TEXT], max_evals=60, silent=True)
    np.testing.assert_allclose(
        found.base_values[0] + found.values[0].sum(axis=0), classifier.probabilities([TEXT])[0], atol=1e-5
    )
    assert "film" in shap.plots.text(found[0, :, "positive"], display=False)


@pytest.mark.filterwarnings("default")  # theirs
def test_shap_plots_an_explanation_of_this_project(classifier: onnxpress.Classifier) -> None:
    shap = pytest.importorskip("shap")
    mine = classifier.explain(TEXT, method="shap")
    theirs = shap.Explanation(
        values=np.array([word.share for word in mine]),
        base_values=mine.base,
        data=np.array([f"{word.text} " for word in mine]),
    )
    assert "film" in shap.plots.text(theirs, display=False)


@pytest.mark.filterwarnings("default")  # theirs
def test_lime_takes_probabilities(classifier: onnxpress.Classifier) -> None:
    lime_text = pytest.importorskip("lime.lime_text")
    explainer = lime_text.LimeTextExplainer(class_names=list(classifier.labels), random_state=0)
    found = explainer.explain_instance(TEXT, classifier.probabilities, num_features=4, num_samples=200)
    assert len(found.as_list()) == 4 and {word for word, _ in found.as_list()} <= set(TEXT.split())
