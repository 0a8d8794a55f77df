"""How samples are taken, with processes that are made up: who is started when, and what is kept."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest

from onnxpress.errors import ConfigError
from onnxpress_bench import sample
from onnxpress_bench.load import LoadSamples
from onnxpress_bench.peers import PEERS, peer_systems
from onnxpress_bench.process import SystemFailedError, _environment, this_python
from onnxpress_bench.sample import SampleSizes, take_samples
from onnxpress_bench.systems.spec import SystemSpec
from onnxpress_bench.worker import Answer, Ask, Bulk, Describe, Reply, Single, Start, Sweep, Take

TEXTS = ["good film", "bad film", "fine"]
ENGINE = SystemSpec(name="engine", kind="engine", model="m")
PEER = SystemSpec(name="peer", kind="onnxruntime", model="m", batch_size=1)
SIZES = SampleSizes(blocks=3, requests=5, loads=(0.5,), cold_starts=5, sweep_tokens=(), sweep_batches=())


class Made:
    """A process that answers at once; what it was asked is kept."""

    started: ClassVar[list[Made]] = []
    labels = ("a", "b")

    def __init__(self, name: str, python: object, start: tuple[SystemSpec, list[str]]) -> None:
        self.name, self.asked, self.open = name, list[Any](), True
        self.beside = [made.name for made in Made.started if made.open]
        self.specs = [start[0]]
        Made.started.append(self)

    def ask(self, request: Any) -> Reply:
        assert self.open
        self.asked.append(request)
        if isinstance(request, Start):
            self.specs.append(request.spec)
        if isinstance(request, Single | Bulk | Sweep):
            return Reply(nanoseconds=[1_000] * 5)
        if isinstance(request, Answer):
            return Reply(labels=list(self.labels), logits=[[1.0] * len(self.labels)] * len(TEXTS))
        if isinstance(request, Ask):
            return Reply(samples=LoadSamples(latencies_ns=[1_000] * request.load.queries, seconds=0.01, texts=3))
        if isinstance(request, Describe):
            tried = len({spec.batch_size for spec in self.specs})
            return Reply(peak_memory_bytes=100 * tried, versions={"made": "1"})
        return Reply()

    def close(self) -> None:
        self.open = False

    def __enter__(self) -> Made:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Made]:
    Made.started, Made.labels = [], ("a", "b")
    monkeypatch.setattr(sample, "Worker", Made)
    monkeypatch.setattr(sample, "_PAUSE_SECONDS", 0)
    return Made.started


def take(sizes: SampleSizes = SIZES, **options: Any) -> tuple[list[sample.Sampled], list[Any]]:
    here = this_python()
    return take_samples([(ENGINE, here), (PEER, here)], TEXTS, sizes, {}, **options)


def test_every_block_starts_every_system_afresh_and_ends_it(made: list[Made]) -> None:
    found, skipped = take()
    assert skipped == [] and [len(sampled.cold_start_ns) for sampled in found] == [5, 5]
    for name in ("engine", "peer"):
        mine = [process for process in made if process.name == name]
        assert len(mine) == 1 + 3 + 2  # first answers, a block each, and two cold starts more
        turns = [sum(isinstance(a, Ask) and a.load.tokenize and a.load.rate is None for a in p.asked) for p in mine]
        assert turns == [0, 4, 4, 5, 0, 0]  # two turns of two loads; many-text queries in the last block
    assert not any(process.open for process in made)
    blocks = made[2:8]
    assert [len(process.beside) for process in blocks] == [0, 1] * 3  # only those of the same block wait


def test_each_process_is_warmed_before_its_turns(made: list[Made]) -> None:
    take()
    for process in made[2:8]:
        kinds = [type(asked) for asked in process.asked]
        assert kinds[:3] == [Take, Bulk, Single] and process.asked[0].texts == TEXTS


def test_peak_memory_is_that_of_the_chosen_batch_size_alone(made: list[Made]) -> None:
    sizes = msgspec.structs.replace(SIZES, blocks=1, cold_starts=1)
    texts = TEXTS * 20
    here = this_python()
    (found,), _ = take_samples([(PEER, here)], texts, sizes, {})
    assert len({spec.batch_size for spec in made[0].specs}) == 3, "the process that tried all of them"
    assert found.peak_memory_bytes == 100


def test_another_count_of_labels_is_told_before_anything_is_measured(made: list[Made]) -> None:
    found, skipped = take(labels=["a", "b", "c"])
    assert found == [] and len(made) == 2
    assert skipped[0].reason == "it has 2 labels, and the artifact 3: another model."
    assert len(take(labels=["other", "names"])[0]) == 2  # by place: an artifact's labels may be renamed


def test_steps_count_so_that_the_time_left_can_be_told() -> None:
    steps: list[str] = []
    take(on_step=steps.append)
    turns = [step for step in steps if step.startswith("turn ")]
    assert turns[0].startswith("turn 1 of 12: ") and turns[-1].startswith("turn 12 of 12: ")


def test_a_process_that_fails_in_a_block_drops_its_peer_alone(
    made: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Made.ask

    def fail(self: Made, request: Any) -> Reply:
        if self.name == "peer" and len(made) > 4 and isinstance(request, Take):
            raise SystemFailedError("peer", "it broke")
        return ask(self, request)

    monkeypatch.setattr(Made, "ask", fail)
    found, skipped = take()
    assert [sampled.spec.name for sampled in found] == ["engine"] and skipped[0].reason == "it broke"
    assert not any(process.open for process in made)


def test_what_has_two_settings_is_measured_in_both() -> None:
    found = peer_systems(["openvino", "onnxruntime"], "m", "w")
    assert [(spec.name, spec.optimize_for) for spec in found] == [
        ("OpenVINO fp32, latency", "latency"),
        ("OpenVINO fp32, throughput", "throughput"),
        ("onnxruntime, plain export", None),
    ]
    with pytest.raises(ConfigError, match="there is no 'x'"):
        peer_systems(["x"], "m", "w")


def test_what_calibrates_keeps_a_file_for_each_set_of_texts() -> None:
    from onnxpress_bench.systems.plain_onnx import openvino_int8_file

    names = {openvino_int8_file(peer_systems(["openvino-int8"], "m", "w", texts=texts)[0]) for texts in ("one", "two")}
    assert names == {"openvino-int8-one.xml", "openvino-int8-two.xml"}
    assert all(not spec.calibrated_on for spec in peer_systems(sorted(PEERS.keys() - {"openvino-int8"}), "m", "w"))


def test_no_process_tells_anyone_of_its_use_unless_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    found = _environment(this_python())
    assert found["ORT_DISABLE_TELEMETRY"] == found["HF_HUB_DISABLE_TELEMETRY"] == found["NNCF_CI"] == "1"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert _environment(this_python())["ORT_DISABLE_TELEMETRY"] == "0"
