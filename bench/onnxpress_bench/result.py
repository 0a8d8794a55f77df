"""A benchmark's result: raw samples, what they were taken on, and the comparisons drawn from them.

docs/benchmarks.md describes the file. Its schema has a version of its own; a file of another version is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec

from onnxpress.errors import ConfigError
from onnxpress.hardware.machine import Machine
from onnxpress_bench.agreement import Compared
from onnxpress_bench.conditions import Conditions
from onnxpress_bench.load import Load, LoadSamples
from onnxpress_bench.statistics import LEAST_PAIRS, Ratio
from onnxpress_bench.systems.spec import SystemSpec, Text

__all__ = [
    "RESULT_SCHEMA_VERSION",
    "Agreement",
    "BenchResult",
    "Comparison",
    "Measurement",
    "Skipped",
    "SweepPoint",
    "SystemResult",
    "TextFacts",
    "describe_texts",
    "encode_result",
    "read_result",
]

RESULT_SCHEMA_VERSION: Final = 3


class TextFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The texts that were asked.

    Attributes:
        count: How many.
        sha256: Of all of them in order.
        tokens: Tokens of each that the model sees, in order.
    """

    count: int
    sha256: str
    tokens: list[int]


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How a system's answers compare with those of the reference, on all texts.

    Attributes:
        reference: The system compared with, in fp32.
        equal_labels: Texts with the same answer: the same best label, the same accepted labels, or values as near as
            `changed_answers` says.
        may_change: Share of answers that may differ; with more the system is flagged.
        accuracy: Share of texts with the right label; None where the texts have none, or an answer is not one label.
        compared: Whether an answer is labels or values.
    """

    reference: str
    texts: int
    equal_labels: int
    max_logit_difference: float
    may_change: float
    accuracy: float | None
    compared: Compared = "labels"

    @property
    def is_kept(self) -> bool:
        """Whether no more labels differ than may."""
        return self.texts - self.equal_labels <= self.may_change * self.texts


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one system.

    Attributes:
        load: What was asked; the seed is the first turn's.
        turns: What was measured, in order; two turns a block.
    """

    load: Load
    turns: list[LoadSamples]

    def latencies_ns(self) -> list[int]:
        """Of all queries of all turns."""
        return list(chain.from_iterable(turn.latencies_ns for turn in self.turns))


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """`batch` texts of `tokens` tokens each, answered at once, some times."""

    tokens: int
    batch: int
    nanoseconds: list[int]


class SystemResult(msgspec.Struct, frozen=True, kw_only=True):
    """Raw samples of one system.

    Attributes:
        spec: What was run.
        versions: Of its packages.
        settled: Whether its latency had come to rest before each block.
        measurements: By load.
        cold_start_ns: Process start to first answer, a fresh process each: one a block, then any more.
        peak_memory_bytes: Of a process that ran one block, in the settings measured and no others; the largest.
        joules_per_text: In the offline scenario; None where the machine does not tell.
        sweep: Lengths and batch sizes; may be empty.
        agreement: Its answers beside the reference's.
    """

    spec: SystemSpec
    versions: dict[str, str]
    settled: bool
    measurements: list[Measurement]
    cold_start_ns: list[int]
    peak_memory_bytes: int
    joules_per_text: float | None
    sweep: list[SweepPoint]
    agreement: Agreement

    def of(self, scenario: str, *, tokenize: bool = True) -> Measurement | None:
        """The measurement of `scenario`; of server the first rate. None where there is none."""
        for found in self.measurements:
            if found.load.scenario == scenario and found.load.tokenize == tokenize:
                return found
        return None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One system against another in one metric; above 1 the first is better."""

    metric: str
    system: str
    peer: str
    ratio: Ratio


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A system that was asked for and not measured."""

    name: str
    reason: str


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benchmark.

    Attributes:
        schema_version: RESULT_SCHEMA_VERSION.
        created: When, ISO 8601 in UTC.
        commit: Of the repository in whose folder it ran; empty where there is none.
        command: The arguments it was run with.
        machine: Where.
        conditions: How the machine was meanwhile.
        texts: What was asked.
        model_bytes: Of the engine's graph and weights.
        gemm_flops: Floating-point operations a second of this machine's large fp32 products.
        model_flops: Floating-point operations that the texts take in the whole model, each once; None where unknown.
        systems: Those measured.
        skipped: Those that were not.
        control: The engine beside itself in a second process, by metric; where an interval excludes 1, the run is void.
        comparisons: Of the best engine setting against each other system.
    """

    schema_version: int
    created: str
    commit: str
    command: list[str]
    machine: Machine
    conditions: Conditions
    texts: TextFacts
    model_bytes: int
    gemm_flops: float
    model_flops: float | None
    systems: list[SystemResult]
    skipped: list[Skipped]
    control: list[Comparison]
    comparisons: list[Comparison]

    @property
    def is_void(self) -> bool:
        """Whether the machine told a system from itself; False where `is_judged` is."""
        return self.is_judged and any(comparison.ratio.excludes_one for comparison in self.control)

    @property
    def is_judged(self) -> bool:
        """Whether there are blocks enough for the control."""
        return all(comparison.ratio.pairs >= LEAST_PAIRS for comparison in self.control)


def describe_texts(texts: Sequence[Text], tokens: Sequence[int]) -> TextFacts:
    """The facts of `texts`, of which the model sees `tokens` tokens each."""
    return TextFacts(count=len(texts), sha256=sha256(msgspec.json.encode(texts)).hexdigest(), tokens=list(tokens))


def encode_result(result: BenchResult) -> bytes:
    """The result as UTF-8 JSON with a final newline."""
    return msgspec.json.encode(result) + b"\n"


def read_result(path: Path) -> BenchResult:
    """The result in the file `path`.

    Raises:
        ConfigError: There is none, or one of another schema.
    """
    try:
        content = path.read_bytes()
        version = msgspec.json.decode(content, type=_Versioned).schema_version
        if version != RESULT_SCHEMA_VERSION:
            raise ConfigError(
                f"{path}: holds a result of schema {version}; this version reads {RESULT_SCHEMA_VERSION}. "
                "Measure again, or read it with the onnxpress that wrote it."
            )
        return msgspec.json.decode(content, type=BenchResult)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. `onnxpress bench run … --output FILE` writes one.") from None
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: is no result of `onnxpress bench run` ({error}).") from error


class _Versioned(msgspec.Struct):
    schema_version: int
