"""A wrong guess about the CPU flips no label: its sums are tried."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxpress
from onnxpress.hardware import int8_sums, machine
from onnxpress.hardware.int8_sums import WEIGHT_LIMITS, product_graph, sums_are_exact
from onnxpress.hardware.machine import int8_target, saturates


@pytest.mark.parametrize("shape", [(1, 1), (64, 16), (300, 7)])
def test_the_model_written_by_hand_is_the_one_that_onnx_writes(shape: tuple[int, int]) -> None:
    weights = np.arange(np.prod(shape)).astype(np.int8).reshape(shape)
    node = helper.make_node(
        "MatMulIntegerToFloat", ["values", "weights", "one", "one"], ["sums"], domain="com.microsoft"
    )
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("values", TensorProto.UINT8, ["rows", "values_columns"])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["rows", "sums_columns"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.float32(1), "one")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    assert onnx.load_from_string(product_graph(weights)) == helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_sums_of_two_that_fit_16_bits_are_exact_everywhere() -> None:
    assert sums_are_exact(WEIGHT_LIMITS["avx2"], precise=False)


@pytest.mark.parametrize("target", list(WEIGHT_LIMITS))
def test_with_the_kernels_that_saturates_chooses_sums_are_exact(target: str) -> None:
    assert sums_are_exact(WEIGHT_LIMITS[target], precise=saturates(target))  # type: ignore[index,arg-type]


class Overflowing:
    """ONNX Runtime's session on a CPU that adds two products in 16 bits, unless it is told not to."""

    def __init__(self, graph: bytes, options: object, *, stubborn: bool, **_: object) -> None:
        (weights,) = (t for t in onnx.load_from_string(graph).graph.initializer if t.name == "weights")
        self._weights = numpy_helper.to_array(weights).astype(np.int32)
        told = options.get_session_config_entry("session.x64quantprecision")  # type: ignore[attr-defined]
        self._wide = told == "1" and not stubborn

    def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        products = inputs["values"].astype(np.int32)[:, :, None] * self._weights
        pairs = products[:, ::2] + products[:, 1::2]
        return [(pairs if self._wide else pairs.clip(-(2**15), 2**15 - 1)).sum(axis=1).astype(np.float32)]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> object:
    """Let this machine's sums overflow; `stubborn` ones do so whatever ONNX Runtime is told."""
    options = int8_sums.session_options

    def told(folder: None, *, saturates: bool, **settings: object) -> object:
        made = options(folder, saturates=saturates, **settings)  # type: ignore[arg-type]
        made.add_session_config_entry("session.x64quantprecision", str(int(saturates)))
        return made

    def make(*, stubborn: bool) -> None:
        monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
        monkeypatch.setattr(int8_sums, "session_options", told)
        monkeypatch.setattr(
            "onnxruntime.InferenceSession",
            lambda graph, options, **settings: Overflowing(graph, options, stubborn=stubborn, **settings),
        )
        sums_are_exact.cache_clear()

    yield make
    monkeypatch.undo()
    sums_are_exact.cache_clear()


@pytest.mark.parametrize(("target", "slower"), [("vnni", True), ("arm64", True), ("avx2", False), (None, False)])
def test_a_cpu_that_claims_vnni_and_overflows_gets_the_exact_kernels(
    pretend: object, monkeypatch: pytest.MonkeyPatch, target: str | None, slower: bool
) -> None:
    pretend(stubborn=False)  # type: ignore[operator]
    monkeypatch.setattr(machine, "cpu_features", lambda: ("avx2", "avx512_vnni"))
    assert int8_target() == "avx2"
    assert saturates(target) is slower  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["vnni", "arm64"])
def test_where_no_kernel_is_exact_the_artifact_is_refused_in_one_line(pretend: object, target: str) -> None:
    pretend(stubborn=True)  # type: ignore[operator]
    with pytest.raises(onnxpress.DeviceUnavailableError, match=f"overflow on an artifact for {target}.*fp32") as told:
        saturates(target)  # type: ignore[arg-type]
    assert "\n" not in str(told.value)
    assert not saturates("avx2") and not saturates(None)


def test_a_cpu_that_hides_vnni_and_does_not_overflow_keeps_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(machine, "cpu_features", lambda: ())
    monkeypatch.setattr(machine, "sums_are_exact", lambda *_, **__: True)
    assert int8_target() == "vnni" and not saturates("vnni")


def test_few_rows_and_many_are_tried() -> None:
    assert {1, 2} < set(int8_sums._ROWS) and max(int8_sums._ROWS) >= 16
    assert all(255 * limit * int8_sums._TERMS < 2**24 for limit in WEIGHT_LIMITS.values())  # exact in float32
    assert not list(itertools.filterfalse(lambda limit: 0 < limit < 128, WEIGHT_LIMITS.values()))
