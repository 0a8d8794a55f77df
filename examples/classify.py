"""Classify texts with an exported artifact: python examples/classify.py ARTIFACT TEXT [TEXT ...]."""

from __future__ import annotations

import sys

import onnxpress


def main(artifact: str, texts: list[str]) -> None:
    """Print each text's best label, then all of its scores."""
    with onnxpress.load(artifact) as classifier:
        predictions: list[onnxpress.Prediction] = classifier(texts)
        scores = classifier.probabilities(texts)
        for text, prediction, row in zip(texts, predictions, scores, strict=True):
            spread = ", ".join(f"{label} {score:.3f}" for label, score in zip(classifier.labels, row, strict=True))
            print(f"{prediction.label:>10}  {text}  ({spread})")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
