"""Why CUDA cannot be used: each cause is named. That it can be used has not been tested: there was no GPU."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime
import pytest

from onnxpress.hardware.cuda import cuda_problem


def missing(*names: str) -> Callable[[str], object]:
    """A loader that lacks the libraries whose name holds one of `names`."""

    def load(path: str) -> None:
        if any(name in path for name in names):
            raise OSError(f"{path}: cannot open shared object file")

    return load


@pytest.fixture
def with_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


def test_another_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    problem = cuda_problem()
    assert problem is not None and "has only CPUExecutionProvider; onnxpress[gpu]" in problem


@pytest.mark.usefixtures("with_provider")
@pytest.mark.parametrize(
    ("lacking", "says"),
    [("libcuda", "no NVIDIA driver"), ("providers_cuda", "a CUDA library is missing"), ("nothing", None)],
)
def test_driver_and_libraries(lacking: str, says: str | None) -> None:
    problem = cuda_problem(missing(lacking))
    assert problem is None if says is None else problem is not None and says in problem
