"""Entities, or labels of one's own, beside transformers: python examples/measure_tasks.py ARTIFACT CHECKPOINT TEXTS.

Of an artifact that labels tokens the entities of all texts are found, of one of natural language inference the texts
are classified by ten labels: by each precision of the engine in throughput mode, and by transformers' pipeline with
batches of 1, 8 and 32, all in turns. Prints texts a second, the ratio to the fastest pipeline and to fp32 with 95 %
intervals, and how many of fp32's answers are equal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, pipeline

import onnxpress
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.examples import read_texts
from onnxpress_bench.statistics import median, paired_ratio

LABELS = "acting plot music camera humour pace ending cast dialogue effects".split()
BATCHES, ROUNDS = (1, 8, 32), 5

Answers = list[list[tuple[Any, ...]]]


def engine(artifact: str, task: str, precision: str, texts: list[str]) -> Callable[[], Answers]:
    """What answers all texts: of each its entities, or its labels, best first."""
    if task == "token-classification":
        tagger = onnxpress.load(artifact, task="token-classification", precision=precision, optimize_for="throughput")
        return lambda: [[(one.label, one.start, one.end) for one in found] for found in tagger(texts)]
    clf = onnxpress.load(artifact, precision=precision, optimize_for="throughput")
    return lambda: [[(label,) for label in found.labels] for found in clf.zero_shot(texts, LABELS)]


def peer(checkpoint: str, task: str, batch: int, texts: list[str]) -> Callable[[], Answers]:
    """The same by transformers' pipeline."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if task == "token-classification":
        tag = pipeline(task, checkpoint, tokenizer=tokenizer, aggregation_strategy="simple", batch_size=batch)
        return lambda: [[(one["entity_group"], one["start"], one["end"]) for one in found] for found in tag(texts)]
    classify = pipeline("zero-shot-classification", checkpoint, tokenizer=tokenizer)
    return lambda: [[(label,) for label in found["labels"]] for found in classify(texts, LABELS, batch_size=batch)]


def main(artifact: str, checkpoint: str, texts: list[str]) -> None:
    """Print a line for each system."""
    manifest = open_artifact(Path(artifact)).manifest
    held = [variant.precision for variant in manifest.variants if variant.precision != "fp16"]
    systems = {name: engine(artifact, manifest.task, name, texts) for name in held}
    systems |= {f"pipeline, batch {size}": peer(checkpoint, manifest.task, size, texts) for size in BATCHES}
    answers = {name: answer() for name, answer in systems.items()}
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(ROUNDS):
        for name in list(systems) if turn % 2 else list(systems)[::-1]:
            begin = time.perf_counter()
            systems[name]()
            seconds[name].append(time.perf_counter() - begin)
    best = min((name for name in systems if name not in held), key=lambda name: median(seconds[name]))
    wanted = {(place, *one) for place, found in enumerate(answers["fp32"]) for one in found}
    for name, taken in seconds.items():
        to_peer, to_fp32 = paired_ratio(seconds[best], taken), paired_ratio(seconds["fp32"], taken)
        same = sum(one == other for one, other in zip(answers[name], answers["fp32"], strict=True))
        equal = len(wanted & {(place, *one) for place, found in enumerate(answers[name]) for one in found})
        print(
            f"{name}: {len(texts) / median(taken):,.0f} texts/s, {to_peer.value:.2f} × {best} "
            f"[{to_peer.low:.2f}, {to_peer.high:.2f}], {to_fp32.value:.2f} × fp32 "
            f"[{to_fp32.low:.2f}, {to_fp32.high:.2f}]; as fp32's {same} of {len(texts)} answers, "
            f"{equal} of {len(wanted)} parts"
        )


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], list(dict.fromkeys(read_texts(Path(sys.argv[3])))))
