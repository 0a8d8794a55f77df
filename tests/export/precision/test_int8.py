"""An export with int8: searched, measured on unseen texts, and loaded where it belongs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from msgspec import structs
from transformers import AlbertConfig, AutoModelForSequenceClassification

import onnxpress
import onnxpress.cli.verify as verify_command
from onnxpress import opening
from onnxpress.answers.answered import Answered
from onnxpress.answers.fidelity import Answers, Decision, FidelityError
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.artifacts.manifest import ChangedText, FileRecord, Variant
from onnxpress.generic import generic_examples
from onnxpress.hardware import machine
from onnxpress.inputs.encoder import TokenRows
from onnxpress.sessions.session import Session
from onnxpress_export import artifact as artifact_module
from onnxpress_export import export, variants
from onnxpress_export.fidelity_report import write_report
from onnxpress_export.precision import int8, search
from onnxpress_export.precision.int8 import Measured, NoGainError, NoMixError
from onnxpress_export.precision.products import find_sources
from onnxpress_export.precision.recheck import after_recheck
from onnxpress_export.precision.search import ordered_steps
from onnxpress_export.precision.trial import Trial
from onnxpress_export.precision.twins import GraphsDifferError
from tests.cli.test_commands import refusal, run
from tests.conftest import MAX_LENGTH, MakeCheckpoint, make_tokenizer, randomize
from tests.export.precision.conftest import BUDGET, timed_as


@pytest.fixture(scope="module")
def variant(int8_artifact: Path) -> Variant:
    manifest = json.loads((int8_artifact / "onnxpress.json").read_text())
    assert [held["precision"] for held in manifest["variants"]] == ["fp32", "int8"]
    return open_artifact(int8_artifact).variant("int8")


def test_the_manifest_says_what_was_measured(variant: Variant, sample: Path) -> None:
    assert variant.target == "vnni" and variant.parity is None
    found = variant.fidelity
    assert found is not None
    assert found.sample == sample.name and 340 <= found.texts <= 350
    assert found.changed <= BUDGET * found.texts == found.budget * found.texts
    assert found.changed_low <= found.changed / found.texts <= found.changed_high
    assert found.upper_95 is not None and found.changed / found.texts < found.upper_95 < 1
    assert 0 < found.mean_difference < found.largest_difference and found.speed > 0
    assert found.accuracy is not None and found.reference_accuracy is not None
    assert len(found.examples) == min(found.changed, 20)


def test_the_search_left_its_front(variant: Variant) -> None:
    (chosen,) = [candidate for candidate in variant.search if candidate.chosen]
    assert max(chosen.changed, chosen.expected) <= BUDGET
    assert all(sum(candidate.products.values()) == 13 for candidate in variant.search)
    terms = {"int8": 1, "int8+fp32": 1, "int8x2": 2, "fp32": 0}
    expected = sum(terms[level] * count for level, count in chosen.products.items())
    assert variant.cpu.operators["MatMulIntegerToFloat"] == expected
    assert variant.cpu.operators["Attention"] == 2


def test_the_manifest_says_how_far_unseen_texts_leave_the_ranges(variant: Variant) -> None:
    drift = variant.drift
    (chosen,) = [candidate for candidate in variant.search if candidate.chosen]
    assert drift is not None and 0 < drift.values <= 13 - chosen.products.get("fp32", 0)
    assert 0 <= drift.drifted <= drift.values and (drift.drifted > 0) == (drift.overshoot > 0) == bool(drift.worst)
    assert 0 <= drift.clipped < 0.01 and drift.overshoot < 0.5  # texts of one kind: rare, and not by much


def test_auto_is_int8_on_the_cpu_and_fp32_is_there_to_ask_for(int8_artifact: Path, texts: list[str]) -> None:
    with onnxpress.load(int8_artifact) as int8, onnxpress.load(int8_artifact, precision="fp32") as fp32:
        assert (int8.precision, fp32.precision) == ("int8", "fp32")
        changed = int8.logits(texts).argmax(1) != fp32.logits(texts).argmax(1)
        assert 0 < np.abs(int8.logits(texts) - fp32.logits(texts)).max() and changed.mean() < 2 * BUDGET


def test_an_answer_is_the_same_alone_and_in_any_batch(int8_artifact: Path, texts: list[str]) -> None:
    with onnxpress.load(int8_artifact) as classifier:
        together = classifier.logits(texts)
        alone = np.concatenate([classifier.logits([text]) for text in texts])
        backwards = classifier.logits(texts[::-1])[::-1]
    # an integer step apart where fp32 sums round otherwise: never the whole scale of a batch
    np.testing.assert_allclose(alone, together, atol=1e-2)
    np.testing.assert_allclose(backwards, together, atol=1e-2)
    assert np.array_equal(alone.argmax(1), together.argmax(1))


def test_the_portable_graph_takes_padding(int8_artifact: Path, variant: Variant, texts: list[str]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(int8_artifact / variant.portable.file, providers=["CPUExecutionProvider"])
    with onnxpress.load(int8_artifact) as classifier:
        rows = classifier._encoder.encode(texts[:20])
        width = int(rows.lengths.max())
        inputs = {
            name: np.zeros((20, width), dtype=np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
        }
        for row, encoding in enumerate(rows.encodings):
            inputs["input_ids"][row, : len(encoding)] = encoding.ids
            inputs["attention_mask"][row, : len(encoding)] = 1
        (padded,) = session.run(["logits"], inputs)
        np.testing.assert_allclose(padded, classifier.logits(texts[:20]), atol=1e-2)  # a step, as above


@pytest.mark.parametrize(("here", "slower"), [("avx2", True), ("vnni", False), ("arm64", False)])
def test_where_products_would_overflow_the_session_takes_others(
    int8_artifact: Path, monkeypatch: pytest.MonkeyPatch, here: str, slower: bool, texts: list[str]
) -> None:
    with onnxpress.load(int8_artifact) as classifier:
        wanted = classifier.logits(texts[:50])
    asked = []

    class Spy(Session):
        def __init__(self, *arguments: object, saturates: bool, **settings: object) -> None:
            asked.append(saturates)
            super().__init__(*arguments, saturates=saturates, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(machine, "int8_target", lambda: here)
    monkeypatch.setattr(opening, "Session", Spy)
    with onnxpress.load(int8_artifact) as classifier:
        np.testing.assert_allclose(classifier.logits(texts[:50]), wanted, atol=1e-5)
    assert asked == [slower]


def test_int8_is_refused_on_cuda(int8_artifact: Path) -> None:
    opened = open_artifact(int8_artifact)
    with pytest.raises(onnxpress.ConfigError, match="int8 does not run on cuda, which takes fp16 or fp32"):
        opened.variant("int8", "cuda")
    assert opened.variant("auto", "cuda").precision == "fp32"
    assert opened.variant("auto", "cpu").precision == "int8"


def test_fp16_is_refused_on_the_cpu(int8_artifact: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match="fp16 does not run on cpu, which takes int8 or fp32"):
        onnxpress.load(int8_artifact, precision="fp16", device="cpu")


def test_a_variant_that_is_slower_here_is_not_taken_by_itself(
    int8_artifact: Path, tmp_path: Path, texts: list[str]
) -> None:
    slow = shutil.copytree(int8_artifact, tmp_path / "slow")
    timed_as(slow, 0.97)
    with onnxpress.load(slow) as auto, onnxpress.load(slow, precision="int8") as asked:
        assert (auto.precision, asked.precision) == ("fp32", "int8")


def precisions_in(artifact: Path) -> list[str]:
    """What `artifact` holds; every file in it belongs to that."""
    manifest = open_artifact(artifact).manifest
    left = {path.name for path in artifact.iterdir()} - {"onnxpress.json"}
    assert left == set(manifest.files) and ("int8" in str(left)) == ("int8" in str(manifest.variants))
    return [variant.precision for variant in manifest.variants]


class Worse:
    """Measures a variant, and says of the first `times` that they changed 100 answers more."""

    def __init__(self, times: int) -> None:
        self.times, self.measured, self.texts = times, variants.measure_fidelity, list[int]()

    def __call__(self, *arguments: object, **settings: object) -> Measured:
        found = self.measured(*arguments, **settings)  # type: ignore[arg-type]
        self.texts.append(found.fidelity.texts)
        return with_fidelity(found, changed=100) if len(self.texts) <= self.times else found


def with_fidelity(measured: Measured, **changes: float) -> Measured:
    return replace(measured, fidelity=structs.replace(measured.fidelity, **changes))


def test_over_budget_int8_is_left_out_and_fp32_is_kept(
    checkpoint: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "measure_fidelity", worse := Worse(times=10))
    with pytest.raises(FidelityError, match=r"100\).*int8 was left out.*--max-disagreement.*drop int8"):
        export(
            checkpoint,
            tmp_path / "out",
            precisions=("fp32", "int8"),
            sample=sample,
            max_disagreement=BUDGET,
            recheck=False,
        )
    assert precisions_in(tmp_path / "out") == ["fp32"]
    assert onnxpress.load(tmp_path / "out")("good film").label
    assert worse.texts[0] > 1.9 * worse.texts[1] > 3.7 * worse.texts[-1]  # the next mix by the texts that are left


def test_the_next_mix_is_tried_on_the_texts_that_are_left(
    checkpoint: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "measure_fidelity", worse := Worse(times=1))
    steps: list[str] = []
    out = tmp_path / "out"
    export(
        checkpoint,
        out,
        precisions=("fp32", "int8"),
        sample=sample,
        max_disagreement=BUDGET,
        recheck=False,
        on_step=steps.append,
    )
    assert precisions_in(out) == ["fp32", "int8"] and any("the next one is chosen" in step for step in steps)
    found = open_artifact(out).variant("int8")
    assert found.fidelity is not None and found.fidelity.texts == worse.texts[1] == -(-worse.texts[0] // 2)
    (chosen,) = [candidate for candidate in found.search if candidate.chosen]
    assert chosen.products.get("int8", 0) < 13  # not the one that failed


def test_a_budget_of_nothing_is_told_with_what_int8_would_change(
    checkpoint: Path, sample: Path, tmp_path: Path
) -> None:
    with pytest.raises(NoMixError, match=r"budget of 0.00%: with every product in int8, \d.*int8 was left out"):
        export(
            checkpoint,
            tmp_path / "out",
            precisions=("fp32", "fp16", "int8"),
            sample=sample,
            max_disagreement=0,
            recheck=False,
        )
    assert precisions_in(tmp_path / "out")[0] == "fp32"


def test_what_brings_nothing_is_refused_with_the_count(
    checkpoint: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = find_sources
    monkeypatch.setattr(int8, "find_sources", lambda graph: few(graph)[:3])
    with pytest.raises(NoGainError, match=r"5 of 13 products are in int8\. int8 was left out"):
        export(checkpoint, tmp_path / "few", precisions=("fp32", "int8"), sample=sample, max_disagreement=0.9)
    assert precisions_in(tmp_path / "few") == ["fp32"]


@pytest.mark.parametrize(("speed", "size", "refused"), [(0.9, 1.1, True), (0.9, 0.3, False), (1.2, 1.1, False)])
def test_neither_faster_nor_smaller_is_refused(
    checkpoint: Path,
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    speed: float,
    size: float,
    refused: bool,
) -> None:
    measure = variants.measure_fidelity
    monkeypatch.setattr(variants, "measure_fidelity", lambda *a, **k: with_fidelity(measure(*a, **k), speed=speed))
    monkeypatch.setattr(variants, "_size", lambda _, name: size if "int8" in name else 1.0)
    out, asked = tmp_path / "out", {"precisions": ("fp32", "int8"), "sample": sample, "max_disagreement": 0.9}
    if refused:
        with pytest.raises(NoGainError, match=r"13 of 13 products are in int8, 0.90 × fp32's speed, 1.10 × its size"):
            export(checkpoint, out, **asked)  # type: ignore[arg-type]
    else:
        export(checkpoint, out, **asked)  # type: ignore[arg-type]
    assert precisions_in(out) == (["fp32"] if refused else ["fp32", "int8"])


@pytest.mark.parametrize("broken", ["model_int8.onnx", "model_int8_packed.onnx"])
def test_every_graph_of_int8_is_run_and_compared(
    checkpoint: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """One weight of the graph is another one: what the export measured of the CPU's graph does not hold of it."""
    write = artifact_module.write_graph

    def write_another(model: ir.Model, directory: Path, name: str) -> None:
        if name == broken:
            model = model.clone()
            scale = next(v for k, v in model.graph.initializers.items() if k.endswith("_weight_scale"))
            assert scale.const_value is not None
            scale.const_value = ir.tensor(scale.const_value.numpy() * np.float32(2), name=scale.name)
        write(model, directory, name)

    monkeypatch.setattr(variants, "write_graph", write_another)
    with pytest.raises(GraphsDifferError, match=rf"{broken} differs by .* from the CPU's graph"):
        export(checkpoint, tmp_path / "out", precisions=("fp32", "int8"), sample=sample, max_disagreement=0.9)
    assert precisions_in(tmp_path / "out") == ["fp32"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"precisions": ("fp32", "int4")}, "fp32 or fp16 or int8, got 'int4'"),
        ({"precisions": ("int8",)}, "fp32 is always written"),
        ({"max_disagreement": 1.0}, "below 1, got 1.0"),
        ({"sample": "few.txt", "precisions": ("fp32", "int8")}, "2 different texts; at least 100"),
        ({"sample": "labels.csv", "precisions": ("fp32", "int8")}, "label 'joyful' is none of the model's"),
        ({"sample": "nowhere.txt", "precisions": ("fp32", "int8")}, "no such file"),
    ],
)
def test_what_cannot_be_is_told(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("few.txt").write_text("good\nbad\ngood\n")
    Path("labels.csv").write_text("text,label\n" + "".join(f"film {number},joyful\n" for number in range(200)))
    with pytest.raises(onnxpress.ConfigError, match=says):
        export(checkpoint, "out", **settings)  # type: ignore[arg-type]
    assert not Path("out").exists()


def test_without_a_sample_generic_text_serves_and_is_named(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    examples = generic_examples()
    assert len({example.text for example in examples}) == len(examples) >= 1_000 and examples == generic_examples()
    report = export(make_checkpoint(), tmp_path / "out", precisions=("fp32", "int8"), max_disagreement=0.5)
    fidelity = report.manifest.variants[1].fidelity
    assert fidelity is not None and fidelity.sample == "generic text" and fidelity.accuracy is None
    assert fidelity.torch_texts == fidelity.texts and abs(fidelity.torch_changed - fidelity.changed) <= 2


def test_the_path_leaves_the_noise_that_costs_least_first() -> None:
    noises = {
        "int8": {"a": 4.0, "b": 1.0},
        "int8+fp32": {"a": 4.1, "b": 1.0},
        "int8x2": {"a": 1.0, "b": 0.9},
        "fp32": {"a": 0.0, "b": 0.0},
    }
    times = {
        "int8": {"a": 1.0, "b": 1.0},
        "int8+fp32": {"a": 1.1, "b": 1.1},  # for values without outliers it costs time and brings nothing
        "int8x2": {"a": 2.0, "b": 2.0},
        "fp32": {"a": 4.0, "b": 4.0},
    }
    assert ordered_steps(["a", "b"], noises, times) == [  # type: ignore[arg-type]
        {"a": "int8", "b": "int8"},
        {"a": "int8x2", "b": "int8"},
        {"a": "fp32", "b": "int8"},
        {"a": "fp32", "b": "fp32"},
    ]


def test_what_is_offered_no_level_between_goes_to_fp32_at_once() -> None:
    noises = {"int8": {"a": 1.0}, "int8+fp32": {}, "int8x2": {}, "fp32": {"a": 0.0}}
    times = {"int8": {"a": 1.0}, "int8+fp32": {}, "int8x2": {}, "fp32": {"a": 4.0}}
    assert ordered_steps(["a"], noises, times) == [{"a": "int8"}, {"a": "fp32"}]  # type: ignore[arg-type]


def test_layers_that_share_weights_are_smaller_in_int8(sample: Path, tmp_path: Path) -> None:
    """ALBERT's fp32 weights are stored once for all layers, and so must int8's be: here four layers of one weight."""
    tokenizer = make_tokenizer()
    config = AlbertConfig(
        vocab_size=len(tokenizer), embedding_size=16, hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=MAX_LENGTH, num_labels=2, id2label={0: "negative", 1: "positive"},
    )  # fmt: skip
    randomize(AutoModelForSequenceClassification.from_config(config)).save_pretrained(tmp_path / "albert")
    tokenizer.save_pretrained(tmp_path / "albert")
    report = export(
        tmp_path / "albert", tmp_path / "out", precisions=("fp32", "int8"), sample=sample, max_disagreement=0.9
    )
    fp32, int8_variant = report.manifest.variants
    assert int8_variant.cpu.operators["MatMulIntegerToFloat"] == 4 * 6 + 2  # and its projection, and its pooler
    assert fp32.cpu.weights["float"] <= report.manifest.provenance.parameters + 16  # a scale, and the like
    once = 3 * 32 * 32 + 32 * 32 + 2 * 32 * 64 + 16 * 32 + 32 * 32
    assert int8_variant.cpu.weights["int8"] == once
    sizes = [report.manifest.files[name].bytes for name in (int8_variant.weights[0], fp32.weights[0])]
    assert sizes[0] < 0.5 * sizes[1]


def test_verify_repeats_the_measurement(int8_artifact: Path, sample: Path) -> None:
    done = run("verify", int8_artifact, "--sample", sample)
    assert done.returncode == 0, done.stderr.decode()
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["precision"], found["texts"], found["budget"]) == ("int8", 700, BUDGET)
    assert found["changed"] <= BUDGET * 700


def test_verify_fails_over_the_budget(int8_artifact: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = onnxpress.load(int8_artifact, precision="int8")

    class Flipped:
        def __enter__(self) -> Flipped:
            return self

        def __exit__(self, *_: object) -> None: ...

        def logits(self, texts: list[str]) -> np.ndarray:
            return load.logits(texts)  # which is timed

        def answer(self, rows: TokenRows) -> Answered:
            answered = load.answer(rows)
            return replace(answered, logits=answered.logits[:, ::-1])

    real = verify_command.load
    monkeypatch.setattr(
        verify_command, "load", lambda *a, **k: Flipped() if k["precision"] == "int8" else real(*a, **k)
    )
    with pytest.raises(FidelityError, match=r"int8 changes \d+\.\d+% .* 700 texts"):
        verify_command.verify(int8_artifact, sample, None)


def test_verify_tells_what_it_cannot_do(artifact: Path, sample: Path, int8_artifact: Path) -> None:
    assert "holds only fp32" in refusal("verify", artifact, "--sample", sample)
    assert "from 0 to below 1" in refusal("verify", int8_artifact, "--sample", sample, "--max-disagreement", 2)


def test_the_report_is_one_page_of_its_own(int8_artifact: Path, variant: Variant) -> None:
    page = (int8_artifact / "report.html").read_text(encoding="utf-8")
    assert "http" not in page and "<script" not in page and "url(" not in page
    assert page.count('<circle class="mix') == len(variant.search) and page.count('class="mix chosen"') == 1
    assert variant.fidelity is not None
    assert f"{variant.fidelity.texts:,} of sample.jsonl" in page
    assert page.count("<tr><td>") == len(variant.fidelity.examples)
    assert variant.drift is not None and f"On the unseen ones {variant.drift.drifted} of" in page
    HTMLParser().feed(page)


def test_a_text_cannot_break_the_report(tmp_path: Path, variant: Variant) -> None:
    hostile = ChangedText(text="<script>alert(1)</script>", reference="<b>", found="&")
    fidelity = structs.replace(variant.fidelity, examples=(hostile,))
    fp32 = structs.replace(variant, precision="fp32", fidelity=None, search=())
    files = {name: FileRecord(sha256="", bytes=10) for name in (variant.cpu.file, *variant.weights)}
    write_report(tmp_path, "<title>", [fp32, structs.replace(variant, fidelity=fidelity)], files)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "&lt;title&gt;" in page


def test_inspect_shows_the_measurement(int8_artifact: Path) -> None:
    done = run("inspect", int8_artifact)
    assert done.returncode == 0
    shown = " ".join(done.stdout.decode().split())
    assert "unseen texts of sample.jsonl changed" in shown and "MatMulIntegerToFloat" in shown


@pytest.fixture(scope="module")
def cascade_artifact(checkpoint: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small weights in int8 are noisy: a small budget needs fp32 behind it."""
    path = tmp_path_factory.mktemp("cascade") / "artifact"
    with pytest.MonkeyPatch.context() as patch:
        # so small a model may take longer in int8: what a large one takes is not the question here
        patch.setattr(
            search, "node_times", lambda model, _: {node.name: TIMES.get(node.op_type, 0) for node in model.graph}
        )
        export(checkpoint, path, precisions=("fp32", "int8"), sample=sample, max_disagreement=0.004, int8_for="vnni")
    return path


TIMES = {"MatMul": 40, "Gemm": 40, "MatMulIntegerToFloat": 10}


def test_the_manifest_records_what_fp32_answers_again(cascade_artifact: Path) -> None:
    manifest = open_artifact(cascade_artifact).manifest
    cascade, fidelity = manifest.cascade, manifest.variants[1].fidelity
    assert cascade is not None and fidelity is not None
    assert cascade.stages == ("int8", "fp32") and cascade.thresholds["int8"] > 0
    assert 0 < cascade.answered["fp32"] < 0.9 and sum(cascade.answered.values()) == pytest.approx(1)
    assert cascade.changed.changed == fidelity.changed <= 0.004 * fidelity.texts < cascade.changed.alone
    assert cascade.changed.upper_95 == fidelity.upper_95
    assert 0 < cascade.score_difference_999 <= cascade.score_difference < 1
    (chosen,) = [candidate for candidate in manifest.variants[1].search if candidate.chosen]
    assert chosen.again == cascade.seen_again and chosen.changed <= 0.004
    assert cascade.thresholds["int8"] in [point.threshold for point in cascade.points]


def test_the_record_holds_when_int8_and_fp32_are_run(cascade_artifact: Path, texts: list[str]) -> None:
    """On other texts too: by the threshold, the answers that int8 keeps are fp32's but for a few."""
    manifest = open_artifact(cascade_artifact).manifest
    assert manifest.cascade is not None
    rows = read_rows(cascade_artifact, texts)
    trial = Trial(rows, cascade_artifact.resolve())
    found, wanted = (trial.logits(ir.load(cascade_artifact / variant.cpu.file)) for variant in manifest.variants[::-1])
    decision = Decision(manifest.activation, manifest.thresholds)
    again, changed, _ = after_recheck(Answers(wanted, decision), found, manifest.cascade.thresholds["int8"])
    assert again == pytest.approx(manifest.cascade.answered["fp32"], abs=0.15) and changed < 0.02


def read_rows(path: Path, texts: list[str]) -> TokenRows:
    with onnxpress.load(path, precision="fp32") as classifier:
        rows: TokenRows = classifier._encoder.encode(texts)
    return rows


def test_what_is_answered_again_is_shown(cascade_artifact: Path) -> None:
    page = (cascade_artifact / "report.html").read_text(encoding="utf-8")
    assert "What fp32 answers again" in page and page.count('<path class="curve"') == 3 and "<script" not in page
    shown = " ".join(run("inspect", cascade_artifact).stdout.decode().split())
    assert "fp32 answers again what comes from int8 below a margin of" in shown
