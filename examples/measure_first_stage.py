"""What is a first stage worth: python examples/measure_first_stage.py TEXTS ARTIFACT [ARTIFACT…] [--rounds N].

TEXTS is a file of texts that no artifact's making saw. Each artifact is loaded for throughput as it is, and without its
first stage; the first one in fp32 too. All answer all texts, tokenization included, in turns in random order. Prints
for each the median texts a second, how many times faster it is than fp32 and than the same without its first stage,
with 95 % intervals, the share that each stage answers, and the answers that are not fp32's with the exact upper bound:
speed means nothing but at equal answers. Artifacts of several budgets make a table of both.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import onnxpress
from onnxpress.answers.budget import clopper_pearson_upper
from onnxpress.answers.fidelity import Answers
from onnxpress.artifacts.manifest import read_manifest
from onnxpress.examples import read_examples
from onnxpress.inputs.texts import Text
from onnxpress_bench.statistics import Ratio, median, paired_ratio


def open_systems(artifacts: list[Path], held: ExitStack) -> dict[str, onnxpress.Classifier]:
    """What is measured, by name."""

    def load(path: Path, precision: str = "auto", first: bool | None = False) -> onnxpress.Classifier:
        return held.enter_context(
            onnxpress.load(
                path, device="cpu", precision=precision, first_stage=first, optimize_for="throughput", spinning=False
            )
        )

    systems = {"fp32": load(artifacts[0], "fp32")}
    for path in artifacts:
        systems[f"{path.name}, without"] = load(path)
        cascade = read_manifest(path).cascade
        if cascade is not None and "first" in cascade.stages:
            systems[f"{path.name}, with"] = load(path, first=True)
    return systems


def measure(systems: Mapping[str, onnxpress.Classifier], texts: list[Text], rounds: int) -> dict[str, list[float]]:
    """Seconds for all `texts`, a figure a round, by system."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for classifier in systems.values():
        classifier.logits(texts[:500])
    generator = random.Random(25)
    for _ in range(rounds):
        for name in generator.sample(list(systems), len(systems)):
            begin = perf_counter()
            systems[name].logits(texts)
            seconds[name].append(perf_counter() - begin)
    return seconds


def told(ratio: Ratio) -> str:
    """A ratio with its interval."""
    interval = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{ratio.value:.2f}{interval}"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path)
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    texts = list(dict.fromkeys(example.text for example in read_examples(given.texts)))
    with ExitStack() as held:
        systems = open_systems(given.artifacts, held)
        seconds = measure(systems, texts, given.rounds)
        exact = Answers(systems["fp32"].logits(texts), systems["fp32"].decision)
        print(f"{len(texts):,} texts, {given.rounds} rounds\n")
        print("| | texts/s | times fp32's | times without | answered by | not fp32's answer |")
        print("|---|---|---|---|---|---|")
        for name, classifier in systems.items():
            changed = int(exact.changed(classifier.logits(texts)).sum())
            total = sum(classifier.answered.values())
            shares = ", ".join(f"{stage} {count / total:.1%}" for stage, count in classifier.answered.items())
            bound = clopper_pearson_upper(changed, len(texts))
            plain = f"{name.removesuffix(', with')}, without"
            beside = "" if not name.endswith(", with") else told(paired_ratio(seconds[plain], seconds[name]))
            print(
                f"| {name} | {len(texts) / median(seconds[name]):,.0f} | "
                f"{told(paired_ratio(seconds['fp32'], seconds[name]))} | {beside} | {shares} | "
                f"{changed} ({changed / len(texts):.2%}, at most {bound:.2%}) |"
            )


if __name__ == "__main__":
    main()
