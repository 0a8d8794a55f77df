"""What makes a first stage answer more: python examples/ablate_first_stage.py ARTIFACT TAUGHT JUDGED.

TAUGHT and JUDGED are files of texts. The artifact's fp32 answers both once; first stages are taught on the first in
several ways, one thing changed at a time, and judged on those texts of the second that are not in the first: how many
of all answers are the model's, and the share that could be answered where 0.1, 0.2 and 0.5 % of all answers change,
the margin chosen on the same texts. Seconds are of one thread, those of the teacher's own answers apart.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

import onnxpress
from onnxpress.answers.answered import joined_logits
from onnxpress.answers.fidelity import Answers
from onnxpress.examples import read_examples
from onnxpress.running.first_stage import FirstStage, Tables, write_tables
from onnxpress_export.precision.student import Lesson, teach

BUDGETS: Final = (0.001, 0.002, 0.005)
USUAL: Final = Lesson()
LESSONS: Final = {
    "as it is": USUAL,
    "tokens alone": replace(USUAL, pair_rows=1),
    "half the rows for pairs": replace(USUAL, pair_rows=USUAL.pair_rows // 2),
    "half the columns": replace(USUAL, width=USUAL.width // 2),
    "twice the columns": replace(USUAL, width=2 * USUAL.width, pair_rows=USUAL.pair_rows // 2),
    "half the epochs": replace(USUAL, epochs=USUAL.epochs // 2),
    "twice the epochs": replace(USUAL, epochs=2 * USUAL.epochs),
    "nothing hidden": replace(USUAL, hidden=0.0),
    "half hidden": replace(USUAL, hidden=0.5),
}

Texts = tuple[list[NDArray[np.int32]], NDArray[np.float32]]


def answered(classifier: onnxpress.Classifier, path: Path, but: set[bytes]) -> Texts:
    """Token ids of the file's different texts, without those of `but`, and the model's logits."""
    texts = list(dict.fromkeys(example.text for example in read_examples(path)))
    (parts,) = classifier.stream_answered([texts])
    ids = [row.ids for part in parts for row in part.rows.encodings]
    first = {row.tobytes(): place for place, row in reversed(list(enumerate(ids)))}
    kept = sorted(place for key, place in first.items() if key not in but)
    return [ids[place] for place in kept], joined_logits(parts)[kept]


def judged(tables: Tables, texts: Texts, exact: Answers) -> str:
    """What a first stage of `tables` is worth, as cells of a table."""
    stage, (ids, _) = FirstStage(tables), texts
    found = np.concatenate([stage.logits(ids[at : at + 256]) for at in range(0, len(ids), 256)])
    wrong, order = exact.changed(found), np.argsort(-exact.decision.margins(found), kind="stable")
    changed = np.cumsum(wrong[order]) / len(order)
    shares = [np.flatnonzero(changed <= budget) for budget in BUDGETS]
    cells = [f"{(places[-1] + 1) / len(order):.1%}" if len(places) else "0 %" for places in shares]
    return f"{1 - wrong.mean():.1%} | " + " | ".join(cells)


def main(artifact: str, taught: Path, judges: Path) -> None:
    """Print a Markdown table."""
    torch.set_num_threads(1)
    with onnxpress.load(artifact, precision="fp32", optimize_for="throughput", spinning=False) as classifier:
        lesson = answered(classifier, taught, set())
        others = answered(classifier, judges, {ids.tobytes() for ids in lesson[0]})
        decision, labels = classifier.decision, len(classifier.labels)
    exact = Answers(others[1], decision)
    vocabulary = 1 + max(int(ids.max()) for ids in (*lesson[0], *others[0]))
    assert decision.activation != "identity"
    print(f"{len(lesson[0]):,} texts taught, {len(others[0]):,} others judge, {labels} labels\n")
    print("| | file | seconds | equal labels | 0.1 % changed | 0.2 % | 0.5 % |")
    print("|---|---|---|---|---|---|---|")
    half = len(lesson[0]) // 2
    for name, how in {**LESSONS, "half the texts": USUAL}.items():
        ids, logits = (lesson[0][:half], lesson[1][:half]) if name == "half the texts" else lesson
        begin = time.perf_counter()
        tables = teach(ids, logits, vocabulary=vocabulary, activation=decision.activation, lesson=how)
        seconds = time.perf_counter() - begin
        size = len(write_tables(tables)) / 2**20
        print(f"| {name} | {size:.1f} MiB | {seconds:.0f} | {judged(tables, others, exact)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
