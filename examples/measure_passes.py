"""What each graph pass is worth: python examples/measure_passes.py CHECKPOINT [BATCH TOKENS THREADS].

Traces the checkpoint as it is, captures it, adds the passes one after the other, and runs every stage in the engine's
own session, in turns in random order. Prints each stage's median time, and how many times faster it is than the plain
export, with a 95 % interval. The last line adds the skip normalization that the engine leaves out on CPU.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxpress.sessions.session import Session
from onnxpress_bench.statistics import median, paired_ratio
from onnxpress_export.capture import capture, trace
from onnxpress_export.checkpoint import load_checkpoint
from onnxpress_export.passes import COMMON, CPU, PORTABLE, apply_passes

ROUNDS, RUNS = 20, 2


def stages(checkpoint: str) -> Iterator[tuple[str, ir.Model]]:
    """Each stage's graph by name: torch's export of the model as it is, the capture, then one more pass each."""
    loaded = load_checkpoint(checkpoint)
    yield "plain export", trace(loaded.model, loaded.input_names)
    model = capture(loaded.model, loaded.input_names)
    yield "attention captured", model
    for name, rewrite in {**COMMON, **CPU, **PORTABLE}.items():
        apply_passes(model, {name: rewrite})
        yield f"+ {name}", model.clone()


def open_stages(checkpoint: str, threads: int) -> dict[str, Session]:
    """A session of the engine's for each stage; its weights go through a file, for models beyond 2 GB."""
    sessions = {}
    for number, (name, model) in enumerate(stages(checkpoint)):
        with tempfile.TemporaryDirectory() as name_of_folder:
            folder = Path(name_of_folder)
            ir.save(model, folder / f"{number}.onnx", external_data=f"{number}.data")
            graph = (folder / f"{number}.onnx").read_bytes()
            sessions[name] = Session(graph, folder, device="cpu", threads=threads, spinning=False)
    return sessions


def measure(sessions: dict[str, Session], batch: int, tokens: int) -> dict[str, list[float]]:
    """Seconds a run by stage, one figure a round: the fastest of a few, which the machine's noise disturbs least."""
    ids = np.random.default_rng(0).integers(5, 1_000, (batch, tokens))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name in random.sample(list(sessions), len(sessions)):
            session, took = sessions[name], []
            chosen = {key: inputs[key] for key in session.input_names}
            for _ in range(RUNS):
                begin = time.perf_counter()
                session.run(chosen)
                took.append(time.perf_counter() - begin)
            seconds[name].append(min(took))
    return seconds


def main(checkpoint: str, batch: int = 40, tokens: int = 26, threads: int = 1) -> None:
    """Print the table."""
    seconds = measure(open_stages(checkpoint, threads), batch, tokens)
    print(f"batch {batch}, {tokens} tokens, {threads} threads, {ROUNDS} rounds")
    for name, taken in seconds.items():
        ratio = paired_ratio(seconds["plain export"], taken)
        print(f"{median(taken) * 1e3:9.2f} ms  {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]  {name}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
