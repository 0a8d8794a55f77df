"""A variant's graphs to what runs them, on one device."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from onnxpress.artifacts.artifact import Artifact
from onnxpress.artifacts.cascade_record import FIRST_STAGE_NAME
from onnxpress.artifacts.manifest import Graph, Variant
from onnxpress.errors import ArtifactIntegrityError, DeviceUnavailableError, RunError
from onnxpress.hardware.cuda import cuda_problem
from onnxpress.hardware.machine import saturates
from onnxpress.running.first_stage import FirstStage, read_tables
from onnxpress.running.runner import RUN_COST, EqualLengths, PackedRows, PaddedBuckets, Runner
from onnxpress.running.worker_sessions import WorkerSessions, affinity_of
from onnxpress.sessions.session import Device, Session
from onnxpress.settings import Settings
from onnxpress.tuned.optimized import find_optimized

__all__ = ["Opening"]

_MAX_TOKENS: Final[dict[Device, int]] = {"cpu": 512, "cuda": 16_384}
_WARM_UP_TOKENS: Final = 16

_log: Final = logging.getLogger("onnxpress")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What all graphs of a classifier are opened with.

    Attributes:
        artifact: Where they lie.
        settings: What the classifier is loaded with.
        workers: Batches that run at once on the CPU.
        threads: Threads of each.
        max_tokens: Tokens a batch may have; None for the device's default.
    """

    artifact: Artifact
    settings: Settings
    workers: int
    threads: int
    max_tokens: int | None

    def runner(self, variant: Variant, device: Device, index: int = 0) -> Runner:
        """What runs `variant` for classifiers, warmed up.

        Raises:
            ArtifactIntegrityError: The artifact is not as it was exported.
            DeviceUnavailableError: The device cannot run it.
        """
        if device == "cpu":
            session = self._open(variant, variant.cpu)
            self._require_dimensions(session, self._dimensions)
            self._warm_up(session)
            return EqualLengths(session, max_tokens=self._most(device))
        if (problem := cuda_problem()) is not None:
            asked = f"cuda:{index}" if index else "cuda"
            raise DeviceUnavailableError(asked, f"{problem}. Run `onnxpress doctor`, or pass device='cpu'.")
        with self.artifact.held(variant.weights):
            content = self._content(variant, variant.portable)
            session = self._opened(variant, *content, device="cuda", index=index)
        self._require_dimensions(session, self._dimensions)
        return PaddedBuckets(
            session,
            max_tokens=self._most(device),
            max_length=self.artifact.manifest.max_length,
            padding=_padding(self.artifact),
            graphs=self.settings.cuda.graphs,
        )

    def packed(self, variant: Variant, graph: Graph) -> PackedRows:
        """What runs texts of different lengths at once, on the packed `graph` of `variant`, warmed up."""
        session = self._open(variant, graph)
        self._require_dimensions(session, 2)
        self._warm_up(session)
        return PackedRows(
            session,
            max_tokens=self._most("cpu"),
            max_length=self.artifact.manifest.max_length,
            padding=_padding(self.artifact),
            run_cost=RUN_COST[variant.precision],
        )

    def first_stage(self) -> FirstStage:
        """What runs the artifact's first stage.

        Raises:
            ArtifactIntegrityError: Its file has changed, or is none.
        """
        try:
            tables = read_tables(self.artifact.read(FIRST_STAGE_NAME), labels=len(self.artifact.manifest.labels))
        except ValueError as error:
            raise ArtifactIntegrityError(
                self.artifact.path / FIRST_STAGE_NAME, f"is no first stage ({error}). Export again."
            ) from error
        return FirstStage(tables)

    def _most(self, device: Device) -> int:
        return self.max_tokens or _MAX_TOKENS[device]

    def _open(self, variant: Variant, graph: Graph) -> Session | WorkerSessions:
        """The graph as `onnxpress tune` saved it here, or the artifact's own."""
        try:
            if (saved := find_optimized(self.artifact, variant, graph)) is not None:
                return self._each_worker(variant, *saved, optimized=True)
        except ArtifactIntegrityError as error:
            _warn_once(f"the artifact's own graph is loaded: {error}")
        with self.artifact.held(variant.weights):
            return self._each_worker(variant, *self._content(variant, graph))

    def _content(self, variant: Variant, graph: Graph) -> tuple[bytes | Path, Path]:
        """The graph, and the folder of its weights; its path where links give these other names than it knows."""
        content = self.artifact.read_graph(graph.file, variant.weights)
        if (folder := self.artifact.folder_of(variant.weights)) is not None:
            return content, folder
        return self.artifact.path.absolute() / graph.file, self.artifact.path

    def _each_worker(
        self, variant: Variant, content: bytes | Path, folder: Path, *, optimized: bool = False
    ) -> Session | WorkerSessions:
        """A session for each worker that has several threads; a worker's one thread is its caller."""
        if saturates(variant.target):
            _warn_once(
                f"{self.artifact.path.name}: its int8 is for {variant.target}, and this CPU's fastest products would "
                "overflow: slower ones give the same answers. Export with --target avx2 for this CPU."
            )
        count = self.workers if self.threads > 1 else 1
        sessions = [
            self._opened(variant, content, folder, optimized=optimized, worker=worker) for worker in range(count)
        ]
        return WorkerSessions(sessions, self.settings.affinity) if count > 1 else sessions[0]

    def _opened(
        self,
        variant: Variant,
        content: bytes | Path,
        folder: Path,
        *,
        device: Device = "cpu",
        index: int = 0,
        optimized: bool = False,
        worker: int = 0,
    ) -> Session:
        session = Session(
            content,
            folder,
            device=device,
            threads=self.threads,
            spinning=self.settings.spinning,
            saturates=saturates(variant.target),
            optimized=optimized,
            affinity=affinity_of(worker, self.settings.affinity, self.threads),
            index=index,
            cuda=self.settings.cuda,
        )
        labels = len(self.artifact.manifest.labels)
        if session.label_count != labels:
            raise ArtifactIntegrityError(
                self.artifact.path,
                f"its manifest names {labels} labels, its graph gives {session.label_count}. Export again.",
            )
        return session

    @property
    def _dimensions(self) -> int:
        """Of the logits of a graph that keeps rows apart."""
        return 3 if self.artifact.manifest.task == "token-classification" else 2

    def _require_dimensions(self, session: Session | WorkerSessions, wanted: int) -> None:
        if session.output_rank != wanted:
            raise ArtifactIntegrityError(
                self.artifact.path,
                f"its manifest is for {self.artifact.manifest.task}, its graph gives logits of {session.output_rank} "
                "dimensions. Export again.",
            )

    def _warm_up(self, session: Session | WorkerSessions) -> None:
        """Run one short row of no padding, on each session."""
        shape = (1, min(_WARM_UP_TOKENS, self.artifact.manifest.max_length))
        inputs = {name: np.full(shape, name == "attention_mask", dtype=np.int64) for name in session.input_names}
        for one in session.each if isinstance(session, WorkerSessions) else (session,):
            try:
                one.run(inputs)
            except RunError as error:
                raise ArtifactIntegrityError(self.artifact.path, f"its graph cannot be run: {error.reason}") from error


@cache
def _warn_once(message: str) -> None:
    _log.warning("%s", message)


def _padding(artifact: Artifact) -> int:
    """The token that fills padded rows, 0 where the model names none."""
    try:
        config: dict[str, Any] = msgspec.json.decode(artifact.read("config.json"), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactIntegrityError(
            artifact.path / "config.json", f"is no configuration ({error}). Export again."
        ) from error
    padding = config.get("pad_token_id")
    return padding if isinstance(padding, int) and padding >= 0 else 0
