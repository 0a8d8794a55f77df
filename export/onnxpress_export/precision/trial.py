"""Running a graph over the sample, as the engine would for a job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxpress.answers.fidelity import Answers, Decision
from onnxpress.hardware.cpu import available_cpus
from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.vectors import bounds_of, places_of
from onnxpress.running.planner import plan_batches
from onnxpress.sessions.session import DISABLED_OPTIMIZERS, PROVIDERS, import_onnxruntime, session_options
from onnxpress.tasks.comparison import COMPARISONS, Comparison

__all__ = ["Trial", "node_times", "open_session"]

_MAX_TOKENS: Final = 512
_PROFILED_BATCHES: Final = 12
_TIMINGS: Final = 2
"""Of which the shorter counts: what disturbs a run makes it longer."""
_IN_GRAPH_BYTES: Final = 1_024
"""Larger weights are handed to ONNX Runtime beside the graph: a protocol buffer ends at 2 GiB."""

_WEIGHTS: Final[WeakKeyDictionary[Any, Any]] = WeakKeyDictionary()
"""ONNX Runtime reads them where they lie in memory: they live as long as their session."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Texts to run graphs on.

    Attributes:
        rows: Their tokens.
        folder: Holds the weights that the graphs refer to.
        first: How many of the texts are run, from the first on; None for all.
        saturates: Whether this CPU's fastest int8 products overflow on the graphs' weights.
        comparison: What the graphs' vectors are of.
    """

    rows: TokenRows
    folder: Path
    first: int | None = None
    saturates: bool = False
    comparison: Comparison = COMPARISONS["text-classification"]

    def logits(self, model: ir.Model) -> NDArray[np.float32]:
        """float32 [vectors, labels]: those of each text, one after the other."""
        return self._runner(model)(self._texts)

    def answers(self, model: ir.Model, decision: Decision) -> Answers:
        """What `model` answers, by which others are compared."""
        return Answers(self.logits(model), decision, self.comparison.owners(self.rows).first(len(self._texts)))

    def seconds(self, model: ir.Model, *, rounds: int) -> float:
        """What running all texts takes on one CPU: the median over rounds, warmed, times the CPUs that share it."""
        run = self._runner(model)
        taken = [_seconds(partial(run, self._texts)) for _ in range(rounds + 1)]
        return float(np.median(taken[1:])) * available_cpus()

    def speed(
        self, model: ir.Model, reference: ir.Model, *, rounds: int, again: NDArray[np.bool_] | None = None
    ) -> float:
        """How many times faster `model` is than `reference`: the median over rounds in turns, both warmed.

        The texts that `again` marks, bool [texts], are then run by `reference` too, in batches of their own.
        """
        exact, run = self._runner(reference), self._runner(model)
        unsure = np.flatnonzero(() if again is None else again[: self.first])
        works = (partial(exact, self._texts), partial(_one_after_the_other, run, self._texts, exact, unsure))
        ratios = []
        for number in range(rounds + 1):
            seconds = [0.0, 0.0]
            for index in (0, 1) if number % 2 else (1, 0):
                seconds[index] = _seconds(works[index])
            ratios.append(seconds[0] / seconds[1])
        return float(np.median(ratios[1:]))

    def time_again(self, model: ir.Model) -> Callable[[NDArray[np.bool_]], float]:
        """What `model` takes for some of the texts by themselves, bool [texts], as a share of its time for all.

        More than their share of the texts: few of them have batches of few.
        """
        run = self._runner(model)
        run(self._texts)
        whole = min(_seconds(partial(run, self._texts)) for _ in range(_TIMINGS))

        def share(again: NDArray[np.bool_]) -> float:
            texts = np.flatnonzero(again)
            return min(_seconds(partial(run, texts)) for _ in range(_TIMINGS)) / whole if len(texts) else 0.0

        return share

    def batches(self) -> Sequence[NDArray[np.intp]]:
        """The texts in batches of equal length, as one worker runs them."""
        return plan_batches(self.rows.lengths[: self.first], max_tokens=_MAX_TOKENS)

    @property
    def _texts(self) -> NDArray[np.intp]:
        return np.arange(len(self.rows.lengths[: self.first]))

    def _runner(self, model: ir.Model) -> Callable[[NDArray[np.intp]], NDArray[np.float32]]:
        """What runs the texts at some places, and gives their logits, float32 [vectors, labels]."""
        workers = available_cpus()
        session = open_session(model, session_options(self.folder, threads=1, spinning=False, saturates=self.saturates))
        names = [value.name for value in session.get_inputs()]
        *of_each_token, labels = session.get_outputs()[0].shape[1:]

        def run(texts: NDArray[np.intp]) -> NDArray[np.float32]:
            lengths = self.rows.lengths[texts]
            bounds = bounds_of(lengths if of_each_token else np.ones_like(lengths))
            logits = np.empty((int(bounds[-1]), labels), dtype=np.float32)

            def one(batch: NDArray[np.intp]) -> None:
                found = session.run(("logits",), self.rows.inputs(texts[batch], names))[0]
                logits[places_of(batch, bounds)] = found.reshape(-1, labels)

            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(one, plan_batches(lengths, max_tokens=_MAX_TOKENS, workers=workers)))
            return logits

        return run


def _one_after_the_other(
    run: Callable[[NDArray[np.intp]], object],
    texts: NDArray[np.intp],
    then: Callable[[NDArray[np.intp]], object],
    again: NDArray[np.intp],
) -> None:
    run(texts)
    if len(again):
        then(again)


def _seconds(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


def node_times(model: ir.Model, trial: Trial) -> dict[str, int]:
    """Microseconds of each node of `model`, by name, over some of the trial's batches on one thread."""
    with TemporaryDirectory() as folder:
        options = session_options(trial.folder, threads=1, spinning=False, saturates=trial.saturates)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(model, options)
        names = [value.name for value in session.get_inputs()]
        batches = trial.batches()
        for index in np.linspace(0, len(batches) - 1, _PROFILED_BATCHES).astype(int):
            session.run(None, trial.rows.inputs(batches[index], names))
        events = json.loads(Path(session.end_profiling()).read_text())
    times: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time")] += event["dur"]
    return dict(times)


def open_session(model: ir.Model, options: Any) -> Any:
    """An `onnxruntime.InferenceSession` of `model` on the CPU, as the engine's but for its `options`.

    Weights that are in memory stay where they are, so that the graph may have any size; `model` stays as it is.
    """
    ort, described = import_onnxruntime(), model.clone()
    held = {}
    for name, value in described.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or isinstance(tensor, ir.ExternalTensor) or tensor.nbytes < _IN_GRAPH_BYTES:
            continue
        held[name] = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(tensor.numpy()))
        value.const_value = ir.ExternalTensor(
            "in-memory", 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name, base_dir=""
        )
    if held:
        options.add_external_initializers(list(held), list(held.values()))
    session = ort.InferenceSession(
        ir.to_proto(described).SerializeToString(),
        options,
        providers=[PROVIDERS["cpu"]],
        disabled_optimizers=DISABLED_OPTIMIZERS["cpu"],
    )
    _WEIGHTS[session] = held
    return session
