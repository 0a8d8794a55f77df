"""What do the graphs that `onnxpress tune` saves spare a process that loads them?

    onnxpress tune ARTIFACT --precision PRECISION
    python examples/measure_loading.py ARTIFACT PRECISION [PROCESSES]

Loads the artifact and a copy that nothing lies beside, each in fresh processes, by turns, one at a time for the time
and two at a time for the memory. Prints medians. Memory is what grew since the imports: a process's own (anonymous),
the same with what services use opened too, and its proportional share of all of it, mapped files included. Linux.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import copytree
from statistics import median
from typing import Any

import onnxpress  # before ONNX Runtime, whose telemetry it turns off

# isort: split
import numpy  # noqa: F401  # imported before memory is first looked at, as the next two are
import onnxruntime
import tokenizers  # noqa: F401

TEXTS = ["a good film", "the worst plot that I have seen in all my life", "nice"]


def memory() -> tuple[float, float]:
    """Anonymous and proportional memory of this process, in MiB."""
    rollup = dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/self/smaps_rollup").read_text()))
    return int(rollup["Anonymous"]) / 1024, int(rollup["Pss"]) / 1024


def load_here(artifact: str, precision: str) -> None:
    """Print the time of a load, wait for a line, and print the memory."""
    own, share = memory()
    sessions: list[float] = []
    create = onnxruntime.InferenceSession

    def timed(*arguments: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        session = create(*arguments, **options)
        sessions.append((time.perf_counter() - begin) * 1e3)
        return session

    onnxruntime.InferenceSession = timed
    begin = time.perf_counter()
    classifier = onnxpress.load(artifact, precision=precision)
    load = (time.perf_counter() - begin) * 1e3
    classifier.logits(TEXTS)
    print(json.dumps({"load ms": load, "of it session ms": sessions[0]}), flush=True)
    sys.stdin.readline()
    alone = memory()
    mixed = classifier.mixed()
    mixed.run(mixed.encode(TEXTS))
    found = {"own MiB": alone[0] - own, "own with a service MiB": memory()[0] - own, "share MiB": alone[1] - share}
    print(json.dumps(found), flush=True)


def measured(artifact: Path, precision: str, *, at_once: int) -> dict[str, float]:
    """Figures of the last of `at_once` processes, memory looked at while the others hold theirs."""
    command = [sys.executable, __file__, "--here", str(artifact), precision]
    processes: list[subprocess.Popen[str]] = []
    for _ in range(at_once):
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        output = processes[-1].stdout
        assert output is not None
        times = json.loads(output.readline())
    last = json.loads(processes[-1].communicate("\n")[0])
    for process in processes[:-1]:
        process.communicate("\n")
    return {**times, **last}


def main(artifact: Path, precision: str, count: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"without": Path(copytree(artifact, Path(folder, "artifact"))), "saved": artifact}
        single: dict[str, list[dict[str, float]]] = {name: [] for name in places}
        double: dict[str, list[dict[str, float]]] = {name: [] for name in places}
        for number in range(count):
            for name in sorted(places, reverse=number % 2 == 0):
                single[name].append(measured(places[name], precision, at_once=1))
                double[name].append(measured(places[name], precision, at_once=2))
    for name in places:
        for runs, chosen, processes in (
            (single[name], ("load ms", "of it session ms", "own MiB", "own with a service MiB"), "one process"),
            (double[name], ("own MiB", "share MiB"), "two processes, each"),
        ):
            figures = ", ".join(f"{figure} {median(run[figure] for run in runs):.1f}" for figure in chosen)
            print(f"{precision}, {name}, {processes}: {figures}")


if __name__ == "__main__":
    if sys.argv[1] == "--here":
        load_here(*sys.argv[2:])
    else:
        main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 15)
