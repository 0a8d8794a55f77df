"""How a classifier is loaded: every setting and limit by name."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import Final, Literal, SupportsIndex, get_args

import numpy as np

from onnxpress.errors import ConfigError

__all__ = ["CudaSettings", "LongText", "OptimizeFor", "Pooling", "Settings", "require_whole"]

OptimizeFor = Literal["latency", "throughput"]
LongText = Literal["truncate", "windows", "error"]
Pooling = Literal["mean", "max"]

_OPTIONAL: Final = ("threads", "workers", "max_tokens", "stride")


def require_whole(name: str, value: object, least: int = 1) -> int:
    """`value` as an int; ConfigError where it is no whole number of at least `least`, which a bool is not either."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, SupportsIndex):
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if (number := index(value)) < least:
        raise ConfigError(f"{name} must be at least {least}, got {number}")
    return number


def _require_kind(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaSettings:
    """What is set on CUDA alone.

    Attributes:
        tf32: Whether fp32 products may round their inputs to 10 bits: faster, but no longer the exported answers.
        memory_limit: Bytes that ONNX Runtime's arena may take; None for no limit.
        graphs: Whether each bucket's kernels are recorded once and replayed as one CUDA graph.
    """

    tf32: bool = False
    memory_limit: int | None = None
    graphs: bool = False

    def __post_init__(self) -> None:
        for name in ("tf32", "graphs"):
            _require_kind(name, getattr(self, name), bool)
        if self.memory_limit is not None:
            require_whole("memory_limit (bytes)", self.memory_limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of `onnxpress.load`, which describes them; checked when made."""

    device: str = "auto"
    precision: str = "auto"
    optimize_for: OptimizeFor = "latency"
    threads: int | None = None
    workers: int | None = None
    affinity: tuple[int, ...] | None = None
    spinning: bool = True
    max_tokens: int | None = None
    max_texts: int = 4_096
    max_characters: int = 100_000
    long_text: LongText = "truncate"
    stride: int | None = None
    pooling: Pooling = "mean"
    recheck: bool = True
    first_stage: bool | None = None
    cuda: CudaSettings = CudaSettings()

    def __post_init__(self) -> None:
        for name, choices in (("optimize_for", OptimizeFor), ("long_text", LongText), ("pooling", Pooling)):
            if getattr(self, name) not in (accepted := get_args(choices)):
                raise ConfigError(f"{name} must be {' or '.join(accepted)}, got {getattr(self, name)!r}")
        for name, kind in (
            ("device", str),
            ("precision", str),
            ("spinning", bool),
            ("recheck", bool),
            ("cuda", CudaSettings),
        ):
            _require_kind(name, getattr(self, name), kind)
        if self.first_stage is not None:
            _require_kind("first_stage", self.first_stage, bool)
        for name in ("threads", "workers", "max_tokens", "max_texts", "max_characters", "stride"):
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                require_whole(name, value)
        if self.workers is not None and self.threads is not None and self.threads % self.workers:
            raise ConfigError(f"threads must be a multiple of workers, got {self.threads} for {self.workers}")
        if self.affinity is not None:
            if not self.affinity:
                raise ConfigError(f"affinity must name CPUs by their numbers from 0, got {self.affinity!r}")
            for cpu in self.affinity:
                require_whole("a CPU of affinity", cpu, 0)
