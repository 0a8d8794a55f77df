"""A benchmark's result: raw samples, what they were taken on, and the comparisons drawn from them."""

from __future__ import annotations

from typing import Final

import msgspec

from onnxpress.machine import Machine
from onnxpress_bench.statistics import Ratio
from onnxpress_bench.system import SystemSpec

__all__ = ["RESULT_SCHEMA_VERSION", "Agreement", "BenchResult", "Comparison", "SystemResult", "encode_result"]

RESULT_SCHEMA_VERSION: Final = 1


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How a system's answers compare with those of the reference, on all texts."""

    reference: str
    texts: int
    equal_labels: int
    max_logit_difference: float


class SystemResult(msgspec.Struct, frozen=True, kw_only=True):
    """Raw samples of one system.

    Attributes:
        cold_start_ns: Process start to first answer, a fresh process each.
        single_ns: Single requests, a list a round.
        bulk_ns: All texts, one a round.
        peak_memory_bytes: Of the process that ran all rounds.
    """

    spec: SystemSpec
    cold_start_ns: list[int]
    single_ns: list[list[int]]
    bulk_ns: list[int]
    peak_memory_bytes: int
    agreement: Agreement


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The best engine setting against the best peer in one metric; above 1 the engine is better."""

    metric: str
    system: str
    peer: str
    ratio: Ratio


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benchmark."""

    schema_version: int
    created: str
    machine: Machine
    texts: int
    model_bytes: int
    systems: list[SystemResult]
    comparisons: list[Comparison]


def encode_result(result: BenchResult) -> bytes:
    """The result as indented UTF-8 JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
