"""One model graph, loaded into ONNX Runtime on one device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import (
    ArtifactIntegrityError,
    ConfigError,
    DeviceUnavailableError,
    MissingDependencyError,
)

__all__ = [
    "DISABLED_OPTIMIZERS",
    "PROVIDERS",
    "Device",
    "Session",
    "import_onnxruntime",
    "resolve_device",
    "session_options",
]

Device = Literal["cpu", "cuda"]

PROVIDERS: Final[dict[Device, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
DISABLED_OPTIMIZERS: Final[dict[Device, list[str]]] = {
    # On CPU the fused kernels take longer than what they replace: SkipLayerNormalization six times as long as two
    # additions and a normalization, BiasGelu a little longer than an addition and a Gelu (docs/passes.md).
    "cpu": ["SkipLayerNormFusion", "BiasGeluFusion"],
    "cuda": [],
}

_FATAL_ONLY: Final = 4  # failures are raised, not logged


class Session:
    """An ONNX Runtime session whose `run` may be called from several threads at once.

    Attributes:
        input_names: What `run` must be given.
        label_count: Columns of the logits.
    """

    def __init__(
        self, graph: bytes, folder: Path, *, device: Device, threads: int, spinning: bool, saturates: bool = False
    ) -> None:
        """Load `graph`, whose weights lie in files in `folder`; ONNX Runtime maps them into memory.

        Args:
            graph: A serialized ONNX model.
            folder: The only folder that weights may come from; symbolic links out of it are refused.
            device: Where it runs; it is an error when ONNX Runtime puts it elsewhere.
            threads: Threads inside one run.
            spinning: Whether those threads wait for the next operator by spinning.
            saturates: Whether this CPU's fastest int8 products overflow on the graph's weights; slower ones are
                taken then.
        """
        ort = import_onnxruntime()
        options = session_options(folder, threads=threads, spinning=spinning)
        if saturates:
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(
                graph,
                options,
                providers=[PROVIDERS[device]],
                disabled_optimizers=DISABLED_OPTIMIZERS[device],
            )
        except Exception as error:  # onnxruntime's errors share no public base class
            raise ArtifactIntegrityError(
                folder, f"ONNX Runtime cannot load its graph ({_first_line(error)}). Export again."
            ) from error
        if self._session.get_providers()[0] != PROVIDERS[device]:
            raise DeviceUnavailableError(
                device,
                "ONNX Runtime could not start it (driver or CUDA libraries missing). Pass device='cpu'.",
            )
        self.input_names: tuple[str, ...] = tuple(value.name for value in self._session.get_inputs())
        self.label_count: int = self._session.get_outputs()[0].shape[1]

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Logits, float32 [rows, labels], of int64 inputs [rows, sequence]."""
        logits: NDArray[np.float32] = self._session.run(("logits",), inputs)[0]
        return logits


def session_options(folder: Path, *, threads: int, spinning: bool) -> Any:
    """The `onnxruntime.SessionOptions` of a `Session`, whose arguments these are."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return options


def resolve_device(device: str) -> Device:
    """The device to run on: "cpu", or "cuda"; "auto" is CUDA where this onnxruntime has it, else the CPU.

    Raises:
        DeviceUnavailableError: "cuda" was asked for and this onnxruntime lacks it.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda, got {device!r}")
    available = import_onnxruntime().get_available_providers()
    if PROVIDERS["cuda"] in available:
        return "cpu" if device == "cpu" else "cuda"
    if device == "cuda":
        raise DeviceUnavailableError(
            device,
            f"this onnxruntime has only {', '.join(available)}. "
            "Replace it: pip uninstall onnxruntime, then pip install 'onnxpress[gpu]'; or pass device='cpu'.",
        )
    return "cpu"


def import_onnxruntime() -> ModuleType:
    """The onnxruntime module; MissingDependencyError says which extra brings it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", ("cpu", "gpu")) from error
    module: ModuleType = onnxruntime
    return module


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
