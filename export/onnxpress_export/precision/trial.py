"""Running a graph over the sample, as the engine would for a job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxpress.cpu import available_cpus
from onnxpress.encoder import TokenRows
from onnxpress.planner import plan_batches
from onnxpress.session import DISABLED_OPTIMIZERS, PROVIDERS, Session, import_onnxruntime, session_options

__all__ = ["Trial", "node_times"]

_MAX_TOKENS: Final = 512
_PROFILED_BATCHES: Final = 12


@dataclass(frozen=True, slots=True)
class Trial:
    """Texts to run graphs on. `folder` holds the weights that the graphs refer to."""

    rows: TokenRows
    folder: Path

    def logits(self, model: ir.Model) -> NDArray[np.float32]:
        """float32 [texts, labels]."""
        return self._runner(model)()

    def speed(self, model: ir.Model, reference: ir.Model, *, rounds: int) -> float:
        """How many times faster `model` is than `reference`: the median over rounds in turns, both warmed."""
        runners = [self._runner(reference), self._runner(model)]
        ratios = []
        for number in range(rounds + 1):
            seconds = [0.0, 0.0]
            for index in (0, 1) if number % 2 else (1, 0):
                begin = perf_counter()
                runners[index]()
                seconds[index] = perf_counter() - begin
            ratios.append(seconds[0] / seconds[1])
        return float(np.median(ratios[1:]))

    def _runner(self, model: ir.Model) -> Callable[[], NDArray[np.float32]]:
        workers = available_cpus()
        graph = ir.to_proto(model).SerializeToString()
        session = Session(graph, self.folder, device="cpu", threads=1, spinning=False)
        batches = plan_batches(self.rows.lengths, max_tokens=_MAX_TOKENS, workers=workers)

        def run() -> NDArray[np.float32]:
            logits = np.empty((len(self.rows.lengths), session.label_count), dtype=np.float32)

            def one(batch: NDArray[np.intp]) -> None:
                logits[batch] = session.run(self.rows.inputs(batch, session.input_names))

            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(one, batches))
            return logits

        return run


def node_times(model: ir.Model, trial: Trial) -> dict[str, int]:
    """Microseconds of each node of `model`, by name, over some of the trial's batches on one thread."""
    with TemporaryDirectory() as folder:
        options = session_options(trial.folder, threads=1, spinning=False)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = import_onnxruntime().InferenceSession(
            ir.to_proto(model).SerializeToString(),
            options,
            providers=[PROVIDERS["cpu"]],
            disabled_optimizers=DISABLED_OPTIMIZERS["cpu"],
        )
        names = [value.name for value in session.get_inputs()]
        batches = plan_batches(trial.rows.lengths, max_tokens=_MAX_TOKENS)
        for index in np.linspace(0, len(batches) - 1, _PROFILED_BATCHES).astype(int):
            session.run(None, trial.rows.inputs(batches[index], names))
        events = json.loads(Path(session.end_profiling()).read_text())
    times: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time")] += event["dur"]
    return dict(times)
