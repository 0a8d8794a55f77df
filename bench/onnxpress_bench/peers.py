"""The systems of a run: the engine's settings, and every other way to serve the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from onnxpress.errors import ConfigError
from onnxpress_bench.systems.spec import Kind, SystemSpec

__all__ = ["CONTROL", "PEERS", "batch_sizes", "engine_systems", "peer_systems"]

CONTROL: Final = "control"
"""The name of the engine's second process."""

# Each name of `--peers`: what tables call it, its kind and precision, and the labels that may change. optimum and
# OpenVINO state no budget for their int8; the engine's default is taken for them.
_INT8_MAY_CHANGE: Final = 0.005
PEERS: Final[dict[str, tuple[str, Kind, str, float]]] = {
    "pipeline": ("transformers pipeline", "pipeline", "fp32", 0.0),
    "eager": ("transformers eager", "eager", "fp32", 0.0),
    "compile": ("torch.compile", "compile", "fp32", 0.0),
    "cross-encoder": ("sentence-transformers", "cross-encoder", "fp32", 0.0),
    "zero-shot": ("transformers zero-shot pipeline", "zero-shot", "fp32", 0.0),
    "onnxruntime": ("onnxruntime, plain export", "onnxruntime", "fp32", 0.0),
    "optimum": ("optimum fp32", "optimum", "fp32", 0.0),
    "optimum-o2": ("optimum O2", "optimum", "o2", 0.0),
    "optimum-int8": ("optimum int8", "optimum", "int8", _INT8_MAY_CHANGE),
    "openvino": ("OpenVINO fp32", "openvino", "fp32", 0.0),
    "openvino-int8": ("OpenVINO int8", "openvino", "int8", _INT8_MAY_CHANGE),
}
_BATCHES: Final = (1, 8, 32)
_SETTINGS: Final[dict[Kind, tuple[Literal["latency", "throughput"], ...]]] = {"openvino": ("latency", "throughput")}
_CALIBRATED: Final = ("openvino-int8",)


def engine_systems(artifact: str, precisions: Sequence[tuple[str, float]]) -> list[SystemSpec]:
    """The engine on `artifact` in each precision, with the share of labels that it may change; in both settings."""
    return [
        SystemSpec(
            name=f"onnxpress {precision}, {goal}",
            kind="engine",
            model=artifact,
            optimize_for=goal,
            precision=precision,
            may_change=may_change,
        )
        for precision, may_change in precisions
        for goal in ("latency", "throughput")
    ]


def peer_systems(names: Sequence[str], checkpoint: str, work: str, *, texts: str = "") -> list[SystemSpec]:
    """The peers `names` on `checkpoint`; batch size still to be chosen.

    What has a setting for latency and one for throughput, as the engine has, is measured in both.

    Args:
        names: Keys of PEERS.
        checkpoint: A directory or a Hub id.
        work: Where they keep what they make of the checkpoint.
        texts: A name of the texts, for what calibrates on them.

    Raises:
        ConfigError: There is no such peer.
    """
    if unknown := sorted(set(names) - PEERS.keys()):
        raise ConfigError(f"--peers: there is no {unknown[0]!r}. Known are {', '.join(PEERS)}, and all.")
    found = []
    for name in dict.fromkeys(names):
        title, kind, precision, may_change = PEERS[name]
        found += [
            SystemSpec(
                name=title if setting is None else f"{title}, {setting}",
                kind=kind,
                model=checkpoint,
                precision=precision,
                optimize_for=setting,
                batch_size=_BATCHES[0],
                may_change=may_change,
                work=work,
                calibrated_on=texts if name in _CALIBRATED else "",
            )
            for setting in _SETTINGS.get(kind, (None,))
        ]
    return found


def batch_sizes(spec: SystemSpec, texts: int) -> list[int]:
    """Batch sizes to try for a peer; none for the engine, which plans its own."""
    return [] if spec.kind == "engine" else [size for size in _BATCHES if size == 1 or size <= texts]
