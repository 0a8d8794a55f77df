"""One model graph, loaded into ONNX Runtime on one device."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import (
    ArtifactIntegrityError,
    ClosedError,
    ConfigError,
    DeviceUnavailableError,
    MissingDependencyError,
    OnnxpressError,
    RunError,
)
from onnxpress.sessions.ending import native
from onnxpress.sessions.forked import let_forked_processes_end
from onnxpress.sessions.telemetry import telemetry_is_off
from onnxpress.settings import CudaSettings

__all__ = [
    "DISABLED_OPTIMIZERS",
    "PROVIDERS",
    "Device",
    "Session",
    "import_onnxruntime",
    "nodes_left_to_the_cpu",
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
_SPINNING: Final = "50"
"""Microseconds that a thread waits by spinning. Longer ones reach from one operator to the next no better, and then
take the CPUs from the next session: of two that run in turns, as int8 and fp32 do in a cascade, fp32 took 6.8 ms at the
default where it takes 3.0 alone and 3.3 with this, and int8's p99 fell from 8.7 to 2.9 ms (MiniLM-L6, two CPUs)."""
_CUDA: Final = re.compile(r"cuda(?::(\d{1,3}))?")
_COMPUTING: Final = frozenset(
    "Attention BiasGelu Conv Erf FastGelu Gelu Gemm LayerNormalization MatMul MultiHeadAttention "
    "SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization Softmax".split()
)


class Session:
    """An ONNX Runtime session whose `run` may be called from several threads at once.

    Attributes:
        input_names: What `run` must be given.
        label_count: Columns of the logits.
        output_rank: Dimensions of the logits: 2, or 3 where every token has some and padding is not dropped.
        device: Where it runs.
        index: Which of these devices, from 0.
    """

    def __init__(
        self,
        graph: bytes | Path,
        folder: Path,
        *,
        device: Device,
        threads: int,
        spinning: bool,
        saturates: bool = False,
        optimized: bool = False,
        affinity: Sequence[int] | None = None,
        index: int = 0,
        cuda: CudaSettings | None = None,
    ) -> None:
        """Load `graph`, whose weights lie in files in `folder`; ONNX Runtime maps them into memory.

        Args:
            graph: A serialized ONNX model; or where one lies, as links do beside links to its weights.
            folder: The only folder that weights may come from; symbolic links out of it are refused.
            device: Where it runs; it is an error when ONNX Runtime puts it elsewhere, or work of it.
            threads: Threads inside one run.
            spinning: Whether those threads wait for the next operator by spinning.
            saturates: Whether this CPU's fastest int8 products overflow on the graph's weights; slower ones are
                taken then.
            optimized: Whether `graph` is what ONNX Runtime once made of one here: it is taken as it is.
            affinity: A CPU for each of those threads but the first, which is the caller's.
            index: Which CUDA device, from 0.
            cuda: What is set on CUDA alone; None for the defaults.
        """
        ort = import_onnxruntime()
        options = session_options(
            None if isinstance(graph, Path) else folder, threads=threads, spinning=spinning, saturates=saturates
        )
        if optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if affinity and threads > 1:
            pinned = ";".join(str(cpu + 1) for cpu in affinity)  # ONNX Runtime counts them from 1
            options.add_session_config_entry("session.intra_op_thread_affinities", pinned)
        provider: Any = PROVIDERS[device]
        if device == "cuda":
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
            provider = (provider, _cuda_options(index, cuda or CudaSettings()))
        try:
            with native:
                self._session: Any = ort.InferenceSession(
                    graph, options, providers=[provider], disabled_optimizers=DISABLED_OPTIMIZERS[device]
                )
        except ClosedError:  # the program ends
            raise
        except Exception as error:  # onnxruntime's errors share no public base class
            way_out = "Run `onnxpress tune` again." if optimized else "Export again."
            raise ArtifactIntegrityError(
                folder, f"ONNX Runtime cannot load its graph ({_first_line(error)}). {way_out}"
            ) from error
        if self._session.get_providers()[0] != PROVIDERS[device]:
            raise DeviceUnavailableError(
                device,
                "ONNX Runtime could not start it (driver or CUDA libraries missing). Pass device='cpu'.",
            )
        if device == "cuda" and (strays := nodes_left_to_the_cpu(_assignments(self._session))):
            raise DeviceUnavailableError(
                device, f"ONNX Runtime leaves {', '.join(strays)} to the CPU. Pass device='cpu', or another precision."
            )
        self.device: Device = device
        self.index = index
        self.input_names: tuple[str, ...] = tuple(value.name for value in self._session.get_inputs())
        shape = self._session.get_outputs()[0].shape
        self.label_count: int = shape[-1]
        self.output_rank = len(shape)
        let_forked_processes_end(self._session._sess)

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Logits, float32 [rows, labels] or as the graph gives them, of int64 inputs [rows, sequence].

        Raises:
            RunError: ONNX Runtime failed; its index is 0.
        """
        with _told(), native:
            logits: NDArray[np.float32] = self.inference_session.run(("logits",), inputs)[0]
        return logits

    def run_bound(self, binding: Any, options: Any) -> None:
        """Run what is bound. Raises as `run` does. The caller says that it is a native call, with all around it."""
        with _told():
            self.inference_session.run_with_iobinding(binding, options)

    def close(self) -> None:
        """Free what ONNX Runtime holds. Whatever `run` is under way must end first."""
        self._session = None

    @property
    def inference_session(self) -> Any:
        """The `onnxruntime.InferenceSession`. Raises ClosedError when this is closed."""
        if self._session is None:
            raise ClosedError("session")
        return self._session


@contextmanager
def _told() -> Iterator[None]:
    """Have what ONNX Runtime raises be an error of ours."""
    try:
        yield
    except OnnxpressError:
        raise
    except Exception as error:  # onnxruntime's errors share no public base class
        reason = f"ONNX Runtime failed ({_first_line(error)}). Lower max_tokens where memory is short, or export again."
        raise RunError(0, reason) from error


def session_options(folder: Path | None, *, threads: int, spinning: bool, saturates: bool = False) -> Any:
    """The `onnxruntime.SessionOptions` of a `Session`, whose arguments these are; no folder, no weights in files."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPINNING)
    options.add_session_config_entry("session.force_spinning_stop", "1")  # of an onnxruntime without the other
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    if saturates:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def resolve_device(device: str) -> tuple[Device, int]:
    """The device to run on, and which of its kind: ("cpu", 0), or ("cuda", n) for "cuda:n".

    "auto" is CUDA where this onnxruntime has it, else the CPU.

    Raises:
        DeviceUnavailableError: CUDA was asked for and this onnxruntime lacks it.
    """
    match = _CUDA.fullmatch(device)
    if device not in ("auto", "cpu") and match is None:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    available = import_onnxruntime().get_available_providers()
    if PROVIDERS["cuda"] in available:
        return ("cpu", 0) if device == "cpu" else ("cuda", int(match.group(1) or 0) if match else 0)
    if match is not None:
        raise DeviceUnavailableError(
            device,
            f"this onnxruntime has only {', '.join(available)}. "
            "Replace it: pip uninstall onnxruntime, then pip install 'onnxpress[gpu]'; or pass device='cpu'.",
        )
    return "cpu", 0


def nodes_left_to_the_cpu(assigned: Iterable[tuple[str, str]]) -> list[str]:
    """The operator types that compute and are assigned to the CPU, sorted, of (provider, operator type) pairs.

    Operators on shapes belong there.
    """
    return sorted({operator for provider, operator in assigned if provider == PROVIDERS["cpu"]} & _COMPUTING)


def _assignments(session: Any) -> list[tuple[str, str]]:
    """(provider, operator type) of every node; nothing from an onnxruntime that does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return []
    parts = session.get_provider_graph_assignment_info()
    return [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]


def _cuda_options(index: int, cuda: CudaSettings) -> dict[str, str]:
    options = {
        "device_id": str(index),
        "use_tf32": str(int(cuda.tf32)),
        "enable_cuda_graph": str(int(cuda.graphs)),
        "arena_extend_strategy": "kSameAsRequested",
    }
    return options if cuda.memory_limit is None else {**options, "gpu_mem_limit": str(cuda.memory_limit)}


def import_onnxruntime() -> ModuleType:
    """The onnxruntime module; MissingDependencyError says which extra brings it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", ("cpu", "gpu")) from error
    if telemetry_is_off() and hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()  # it may have been imported before the environment said so
    module: ModuleType = onnxruntime
    return module


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
