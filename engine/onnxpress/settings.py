"""How a classifier is loaded: every setting and limit by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from onnxpress.errors import ConfigError

__all__ = ["CudaSettings", "LongText", "OptimizeFor", "Pooling", "Settings"]

OptimizeFor = Literal["latency", "throughput"]
LongText = Literal["truncate", "windows", "error"]
Pooling = Literal["mean", "max"]


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
        if self.memory_limit is not None and self.memory_limit < 1:
            raise ConfigError(f"memory_limit must be at least 1 byte, got {self.memory_limit}")


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
    cuda: CudaSettings = CudaSettings()

    def __post_init__(self) -> None:
        for name, choices in (("optimize_for", OptimizeFor), ("long_text", LongText), ("pooling", Pooling)):
            if getattr(self, name) not in (accepted := get_args(choices)):
                raise ConfigError(f"{name} must be {' or '.join(accepted)}, got {getattr(self, name)!r}")
        for name in ("threads", "workers", "max_tokens", "max_texts", "max_characters", "stride"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.workers is not None and self.threads is not None and self.threads % self.workers:
            raise ConfigError(f"threads must be a multiple of workers, got {self.threads} for {self.workers}")
        if self.affinity is not None and (not self.affinity or min(self.affinity) < 0):
            raise ConfigError(f"affinity must name CPUs by their numbers from 0, got {self.affinity}")
