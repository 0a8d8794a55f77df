"""The commands as a shell sees them: exit status, data on stdout, one line of words on stderr."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import onnxpress
from onnxpress.artifacts.manifest import MANIFEST_NAME


def run(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "onnxpress", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)


def answers(*arguments: object, stdin: bytes = b"") -> list[dict[str, object]]:
    done = run(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def refusal(*arguments: object, stdin: bytes = b"", status: int = 2) -> str:
    """The one line that a refused command prints; proves that stdout stays empty."""
    done = run(*arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (status, b""), done.stderr.decode()
    lines = done.stderr.decode().splitlines()
    assert lines and lines[-1].startswith("error: ") and "Traceback" not in done.stderr.decode()
    return lines[-1]


def test_predict_prints_what_the_engine_answers(artifact: Path) -> None:
    texts = ["good film", "the worst plot", ""]
    with onnxpress.load(artifact) as classifier:
        wanted = classifier(texts)
    found = answers("predict", artifact, *texts)
    assert [answer["text"] for answer in found] == texts
    assert [answer["label"] for answer in found] == [prediction.label for prediction in wanted]
    assert [answer["score"] for answer in found] == pytest.approx([prediction.score for prediction in wanted], abs=1e-6)


def test_predict_reads_lines_in_order(artifact: Path, texts: list[str]) -> None:
    found = answers("predict", artifact, stdin="\r\n".join(texts * 4).encode())
    assert [answer["text"] for answer in found] == texts * 4
    labels = [answer["label"] for answer in found]
    assert labels == labels[: len(texts)] * 4 and len(set(labels)) == 2


def test_predict_ranks(artifact: Path) -> None:
    (answer,) = answers("predict", artifact, "good film", "--top-k", 5)
    scores = [ranked["score"] for ranked in answer["predictions"]]  # type: ignore[attr-defined]
    assert len(scores) == 2 and scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1)


def test_predict_of_nothing_is_nothing(artifact: Path) -> None:
    assert answers("predict", artifact) == []


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (("predict", "nowhere", "x"), b"", "nowhere: no such directory"),
        (("predict", "{checkpoint}", "x"), b"", "not an onnxpress artifact"),
        (("predict", "{artifact}", "x", "--top-k", "0"), b"", "--top-k must be at least 1, got 0"),
        (("predict", "{artifact}", "x", "--device", "tpu"), b"", "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        (("predict", "{artifact}", "x", "--precision", "int8"), b"", "holds no int8 variant (it has fp32)"),
        (("predict", "{artifact}"), b"\xff\n", "line 1 of standard input is not UTF-8"),
        (("predict", "{artifact}"), b"x" * 100_001, "line 1 of standard input has 100,001 characters; the limit is"),
        (("predict", "{artifact}", "x", "--logits", "--top-k", "2"), b"", "--top-k and --logits ask for"),
        (("inspect", "nowhere"), b"", "nowhere: no such directory"),
        (("export", "./nowhere", "out"), b"", "no such directory"),
        (("export", "{checkpoint}", "{artifact}"), b"", "exists already. Choose another path, or pass --force"),
        (("export", "{artifact}", "{artifact}-2"), b"", "holds ONNX weights alone"),
        (("bench", "run", "nowhere", "--texts", "nowhere"), b"", "nowhere: no such directory"),
        (("bench", "run", "{artifact}", "--texts", "nowhere.txt"), b"", "nowhere.txt: no such file"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    artifact: Path, checkpoint: Path, arguments: tuple[str, ...], stdin: bytes, says: str
) -> None:
    filled = [argument.format(artifact=artifact, checkpoint=checkpoint) for argument in arguments]
    assert says in refusal(*filled, stdin=stdin)


def test_debug_shows_the_traceback(artifact: Path) -> None:
    done = run("--debug", "predict", "nowhere", "x")
    assert done.returncode == 1 and b"Traceback" in done.stderr and b"ArtifactNotFoundError" in done.stderr


def test_unknown_words_are_status_2() -> None:
    assert run("predict").returncode == 2
    assert run("predicd").returncode == 2


def test_a_failed_check_is_status_1_and_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    line = refusal("export", checkpoint, tmp_path / "out", "--tolerance", "0", status=1)
    assert "differs from torch" in line
    assert list(tmp_path.iterdir()) == []


def test_export_inspect_and_verify_by_hash(checkpoint: Path, tmp_path: Path) -> None:
    done = run("export", checkpoint, tmp_path / "out")
    assert done.returncode == 0, done.stderr.decode()
    assert b"fused    2 of 2 attentions" in done.stdout and b"labels equal" in done.stdout
    shown = run("inspect", tmp_path / "out")
    for words in ("MultiHeadAttention", "prune_to_classified_token", "model.onnx_data", "negative, positive"):
        assert words in shown.stdout.decode()
    assert run("inspect", tmp_path / "out", "--json").stdout == (tmp_path / "out" / MANIFEST_NAME).read_bytes()
    with (tmp_path / "out/model.onnx").open("ab") as file:
        file.write(b"!")
    assert "has changed since the export" in refusal("inspect", tmp_path / "out")


def test_bench_measures_and_refuses_wrong_answers(
    artifact: Path, checkpoint: Path, tmp_path: Path, texts: list[str]
) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(texts[:20]))
    quick = ("--texts", tmp_path / "texts.txt", "--blocks", 1, "--requests", 3, "--cold-starts", 1)
    quick += ("--loads", "none", "--sweep", "none")
    done = run("bench", "run", artifact, *quick, "--against", checkpoint, "--output", tmp_path / "result.json")
    assert done.returncode == 0, done.stderr.decode()
    assert "transformers pipeline" in done.stdout.decode() and "throughput" in done.stdout.decode()
    assert json.loads((tmp_path / "result.json").read_bytes())["texts"]["count"] == 20

    swapped = Path(shutil.copytree(checkpoint, tmp_path / "swapped"))
    config = json.loads((swapped / "config.json").read_text())
    config.update(id2label={"0": "positive", "1": "negative"}, label2id={"positive": 0, "negative": 1})
    (swapped / "config.json").write_text(json.dumps(config))
    done = run("bench", "run", artifact, *quick, "--against", swapped)
    assert done.returncode == 1
    assert "gives 20 of 20 texts another label" in done.stderr.decode().splitlines()[-1]


def test_commands_of_other_packages_are_found_by_entry_point() -> None:
    assert {entry.name for entry in entry_points(group="onnxpress.commands")} == {"bench", "demo", "export"}
    shown = run("--help").stdout.decode()
    assert all(f" {name} " in shown for name in ("predict", "inspect", "export", "bench", "demo"))
    assert run("--version").stdout.decode().strip() == onnxpress.__version__


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        (("export", "a", "b"), "torch", "export"),
        (("export", "a", "b"), "onnxruntime", "cpu"),
        (("bench", "run", "a", "--texts", "b", "--against", "c"), "transformers", "bench"),
        (("demo",), "pypi_simple", "bench"),
        (("predict", "{artifact}", "x"), "onnxruntime", "cpu"),
    ],
)
def test_a_missing_extra_is_named(artifact: Path, command: tuple[str, ...], missing: str, extra: str) -> None:
    hide = (
        "import sys, importlib.util as util\n"
        f"sys.modules[{missing!r}] = None\n"
        "find = util.find_spec\n"
        f"util.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)\n"
        "from onnxpress.cli.main import main\n"
        "main()\n"
    )
    filled = [argument.format(artifact=artifact) for argument in command]
    done = subprocess.run([sys.executable, "-c", hide, *filled], capture_output=True, timeout=60, check=False)
    last = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 2, done.stderr.decode()
    assert f"{missing} is not installed" in last and f"pip install 'onnxpress[{extra}]'" in last
