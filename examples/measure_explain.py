"""How fast are explanations: python examples/measure_explain.py ARTIFACT CHECKPOINT [TEXTS] [--evaluations N].

Explains texts of about 30 tokens (some written ones, or those of the file TEXTS that have 25 to 35) by SHAP's Partition
explainer with 500 evaluations, three ways in one run and in turns: the artifact in fp32, in int8 where it has it, and
`shap` around transformers' pipeline with CHECKPOINT, which the artifact was made of, as shap's documentation shows it.
All use all CPUs. Prints median seconds a text, the ratio to shap's with its 95 % interval, and how far the explanations
of int8 and of fp32 agree: Spearman's rank correlation of the words' shares.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
from scipy.stats import spearmanr

import onnxpress
from onnxpress.artifacts.manifest import read_manifest
from onnxpress.examples import read_texts
from onnxpress_bench.statistics import median, paired_ratio

TEXTS: Final = (
    (
        "The plot is thin and the jokes are old, but the two leads have such charm that I left the cinema smiling "
        "all the way home that night."
    ),
    (
        "What should have been a quiet drama about grief turns into a loud and clumsy thriller that nobody involved "
        "in it seems to believe for even one minute."
    ),
    (
        "I would like to move some money from my savings to my checking account before the end of this week, please "
        "tell me how long that is going to take."
    ),
    (
        "Please remind me tomorrow at nine in the morning that I have to call the doctor about the results of the "
        "tests that were made last week."
    ),
)
FEWEST, MOST, AT_MOST = 25, 35, 8


def peer(checkpoint: Path, evaluations: int) -> Callable[[str], object]:
    """`shap` around transformers' pipeline."""
    import shap
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(checkpoint), top_k=None, device="cpu")
    explainer: Any = shap.Explainer(classify)
    return lambda text: explainer([text], max_evals=evaluations, silent=True)


def measure(systems: Mapping[str, Callable[[str], object]], texts: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of each explanation, by system; the first text of each is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for explain in systems.values():
        explain(texts[0])
    generator = random.Random(22)
    for _ in range(rounds):
        for text in texts:
            for name in generator.sample(list(systems), len(systems)):
                begin = perf_counter()
                systems[name](text)
                seconds[name].append(perf_counter() - begin)
    return seconds


def agreement(classifiers: Mapping[str, onnxpress.Classifier], texts: list[str]) -> list[float]:
    """The rank correlation of the words' shares of int8 and of fp32, for each text."""
    labels = [classifiers["fp32"](text).label for text in texts]
    found = []
    for text, label in zip(texts, labels, strict=True):
        shares = [
            [word.share for word in classifiers[name].explain(text, label=label, method="shap")]
            for name in ("fp32", "int8")
        ]
        found.append(float(spearmanr(*shares).statistic))
    return found


def chosen(texts: list[str], classifier: onnxpress.Classifier) -> list[str]:
    """Some of `texts` that have about 30 tokens."""
    counts = classifier.count_tokens(texts).tolist()
    fitting = [text for text, count in zip(texts, counts, strict=True) if FEWEST <= count <= MOST]
    if not fitting:
        raise SystemExit(f"no text of {FEWEST} to {MOST} tokens")
    return fitting[:AT_MOST]


def explained(classifier: onnxpress.Classifier, evaluations: int) -> Callable[[str], object]:
    """What explains a text."""
    return lambda text: classifier.explain(text, method="shap", evaluations=evaluations)


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("texts", type=Path, nargs="?")
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    there = [variant.precision for variant in read_manifest(given.artifact).variants]
    with ExitStack() as held:
        classifiers: dict[str, onnxpress.Classifier] = {
            name: held.enter_context(
                onnxpress.load(
                    given.artifact, precision=name, device="cpu", optimize_for="throughput", first_stage=False
                )
            )
            for name in ("fp32", "int8")
            if name in there
        }
        exact = classifiers["fp32"]
        texts = list(TEXTS) if given.texts is None else chosen(read_texts(given.texts), exact)
        systems = {name: explained(classifier, given.evaluations) for name, classifier in classifiers.items()}
        systems["shap"] = peer(given.checkpoint, given.evaluations)
        seconds = measure(systems, texts, given.rounds)
        lengths = sorted(exact.count_tokens(texts).tolist())
        print(f"{len(texts)} texts of {lengths[0]} to {lengths[-1]} tokens, {given.evaluations} evaluations")
        for name, taken in seconds.items():
            ratio = paired_ratio(seconds["shap"], taken)
            print(f"{median(taken):8.3f} s  {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]  {name}")
        if "int8" in classifiers:
            found = agreement(classifiers, texts)
            print(f"int8 and fp32: rank correlation {np.median(found):.3f} (median), {min(found):.3f} (least)")


if __name__ == "__main__":
    main()
