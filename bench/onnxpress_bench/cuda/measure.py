"""The engine's graphs on a device beside torch and a plain export, on the same tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import onnxpress
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.running.runner import PaddedBuckets
from onnxpress.sessions.session import PROVIDERS, Device, Session
from onnxpress_bench.cuda.model import ids_of, text_of
from onnxpress_bench.cuda.result import Speed
from onnxpress_bench.systems.plain_onnx import prepare_onnx

__all__ = ["SHAPES", "measure", "open_buckets"]

SHAPES: Final = ((1, 16), (1, 128), (32, 32), (32, 128), (128, 128))
_WARM_UPS: Final = 5

Ids = NDArray[np.int64]
Run = Callable[[], NDArray[np.float32]]
Prepare = Callable[[Ids], Run]


def measure(
    artifact: Path,
    checkpoint: Path,
    work: Path,
    *,
    device: Device,
    runs: int,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    on_step: Callable[[str], None] = lambda _: None,
) -> list[Speed]:
    """Milliseconds of each system on each shape, in turns; labels against the artifact's fp32 on the CPU.

    A system that cannot run is told with its reason, and stops no other.

    Args:
        artifact: With fp32 and fp16.
        checkpoint: What it was exported from.
        work: A folder for what is made on the way.
        device: What all run on.
        runs: Timed runs of each.
        shapes: Rows and tokens of a run.
        on_step: Told what is being measured.
    """
    systems: dict[str, Callable[[], Prepare]] = {
        "onnxpress fp32": lambda: _engine(artifact, "fp32", device),
        "onnxpress fp16": lambda: _engine(artifact, "fp16", device),
        "torch fp16, SDPA": lambda: _torch(checkpoint, device, compiled=False),
        "torch.compile fp16": lambda: _torch(checkpoint, device, compiled=True),
        "onnxruntime, plain export": lambda: _plain(checkpoint, work / "plain.onnx", device),
    }
    generator = np.random.default_rng(11)
    batches = [ids_of(generator, *shape) for shape in shapes]
    reference = _engine(artifact, "fp32", "cpu")
    labels = [reference(ids)().argmax(axis=1) for ids in batches]
    speeds = []
    for name, open_system in systems.items():
        on_step(f"measuring {name}")
        try:
            prepare = open_system()
            for ids, wanted in zip(batches, labels, strict=True):
                speeds.append(_timed(name, prepare, ids, wanted, runs))
        except Exception as error:  # of any library: a system that cannot run is a finding
            problem = " ".join(str(error).split())[:120] or type(error).__name__
            done = sum(speed.system == name for speed in speeds)
            speeds += [
                Speed(system=name, rows=r, tokens=t, milliseconds=None, equal_labels=None, problem=problem)
                for r, t in shapes[done:]
            ]
    return speeds


def open_buckets(artifact: Path, precision: str, device: Device, **settings: Any) -> PaddedBuckets:
    """What `load` runs on CUDA, on `device`: the portable graph of `precision`, in padded buckets."""
    opened = open_artifact(artifact)
    (variant,) = (variant for variant in opened.manifest.variants if variant.precision == precision)
    graphs = "cuda" in settings and settings["cuda"].graphs
    session = Session(
        opened.read_graph(variant.portable.file, variant.weights),
        artifact.resolve(),
        device=device,
        threads=0,  # as many as there are cores
        spinning=True,
        **settings,
    )
    return PaddedBuckets(
        session, max_tokens=16_384, max_length=opened.manifest.max_length, padding=0, graphs=graphs and device == "cuda"
    )


def _timed(name: str, prepare: Prepare, ids: Ids, wanted: NDArray[np.intp], runs: int) -> Speed:
    run = prepare(ids)
    for _ in range(_WARM_UPS):
        logits = run()
    times = []
    for _ in range(runs):
        begin = perf_counter()
        logits = run()
        times.append((perf_counter() - begin) * 1e3)
    equal = float((logits.argmax(axis=1) == wanted).mean())
    rows, tokens = ids.shape
    return Speed(
        system=name, rows=rows, tokens=tokens, milliseconds=round(median(times), 4), equal_labels=equal, problem=""
    )


def _engine(artifact: Path, precision: str, device: Device) -> Prepare:
    runner = open_buckets(artifact, precision, device)
    tokenizer = onnxpress.load(artifact, device="cpu", precision="fp32", threads=1)

    def prepare(ids: Ids) -> Run:
        rows = tokenizer.encode([text_of(row) for row in ids])

        def run() -> NDArray[np.float32]:
            logits = np.empty((len(ids), runner.session.label_count), dtype=np.float32)
            for bucket in runner.plan(rows.lengths, 1):
                logits[bucket.rows] = runner.run(rows, bucket)
            return logits

        return run

    return prepare


def _torch(checkpoint: Path, device: Device, *, compiled: bool) -> Prepare:
    import torch
    from transformers import AutoModelForSequenceClassification

    model: Any = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype=torch.float16, attn_implementation="sdpa"
    )
    model = model.eval().to(device)
    forward = torch.compile(model, dynamic=True) if compiled else model

    def prepare(ids: Ids) -> Run:
        def run() -> NDArray[np.float32]:
            with torch.inference_mode():
                tokens = torch.from_numpy(ids).to(device)
                logits = forward(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
                found: NDArray[np.float32] = logits.float().cpu().numpy()
            return found

        return run

    return prepare


def _plain(checkpoint: Path, path: Path, device: Device) -> Prepare:
    import onnxruntime

    with redirect_stdout(sys.stderr):  # torch's exporter tells its steps
        prepare_onnx(str(checkpoint), path)
    session = onnxruntime.InferenceSession(path, providers=[PROVIDERS[device]])
    if session.get_providers()[0] != PROVIDERS[device]:
        raise RuntimeError(f"onnxruntime did not start {PROVIDERS[device]}")

    def prepare(ids: Ids) -> Run:
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}

        def run() -> NDArray[np.float32]:
            logits: NDArray[np.float32] = session.run(["logits"], inputs)[0]
            return logits

        return run

    return prepare
