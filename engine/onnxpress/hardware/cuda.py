"""Why CUDA cannot be used here, in words that lead to the cause."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from onnxpress.sessions.session import PROVIDERS, import_onnxruntime

__all__ = ["cuda_problem"]

_WINDOWS: Final = sys.platform == "win32"
_DRIVER: Final = "nvcuda.dll" if _WINDOWS else "libcuda.so.1"
_PROVIDER: Final = "onnxruntime_providers_cuda.dll" if _WINDOWS else "libonnxruntime_providers_cuda.so"


def cuda_problem(load: Callable[[str], object] = ctypes.CDLL) -> str | None:
    """What keeps ONNX Runtime from running on CUDA: the wheel, the driver or a library; None when nothing does.

    Loads the driver's library and the provider's, which fail with the name of what they miss.
    """
    runtime = import_onnxruntime()
    available = runtime.get_available_providers()
    if PROVIDERS["cuda"] not in available:
        return f"this onnxruntime has only {', '.join(available)}; onnxpress[gpu] brings another"
    try:
        load(_DRIVER)
    except OSError as error:
        return f"no NVIDIA driver ({error})"
    try:
        load(str(Path(str(runtime.__file__)).parent / "capi" / _PROVIDER))
    except OSError as error:
        return f"a CUDA library is missing ({error}); if pip brought it, call onnxruntime.preload_dlls() first"
    return None
