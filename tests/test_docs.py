"""What the README shows runs as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import Exported

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def run_example(page: str, artifact: Path, folder: Path) -> str:
    """What the page's Python example prints, beside a copy of the artifact."""
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shutil.copytree(artifact, folder / "artifact")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_serving_example_runs(artifact: Path, tmp_path: Path) -> None:
    first, second = run_example((ROOT / "docs/serving.md").read_text(), artifact, tmp_path).splitlines()
    assert first.count("itive") + first.count("ative") == 2 and second == "2"


def test_the_example_of_tokens_runs(token_artifact: Path, tmp_path: Path) -> None:
    redacted, last = run_example((ROOT / "docs/tokens.md").read_text(), token_artifact, tmp_path).splitlines()
    assert redacted and last.startswith("2 (") and last.endswith(", 5)")


def test_the_explaining_example_runs(artifact: Path, tmp_path: Path) -> None:
    first, *words = run_example((ROOT / "docs/explaining.md").read_text(), artifact, tmp_path).splitlines()
    assert first.split()[0] in ("negative", "positive") and len(words) == 9
    assert words[2].startswith("9 14 hours ")


def test_the_zero_shot_example_runs(bert_nli: Path, tmp_path: Path) -> None:
    first, *several = run_example((ROOT / "docs/zero-shot.md").read_text(), bert_nli, tmp_path).splitlines()
    assert first.split()[0] in ("billing", "delivery", "praise")
    assert [line.split(" {")[0] for line in several] == ["Great!", "Where is my money?"]


def test_the_ranking_example_runs(reranker: Exported, tmp_path: Path) -> None:
    *best, shape = run_example((ROOT / "docs/ranking.md").read_text(), reranker.artifact, tmp_path).splitlines()
    assert len(best) == 2 and float(best[0].split()[1]) >= float(best[1].split()[1]) and shape == "(3, 1)"


def test_the_scoring_example_runs(artifact: Path, tmp_path: Path) -> None:
    printed = run_example((ROOT / "docs/scoring.md").read_text(), artifact, tmp_path).splitlines()
    assert printed[0] == "2 1 1" and printed[1].startswith('{"file":"reviews.jsonl","row":2,"reason":"')


def test_the_python_example_runs(artifact: Path, tmp_path: Path) -> None:
    first, second, third = run_example(README, artifact, tmp_path).splitlines()
    assert first.startswith("Prediction(label='") and second.startswith("[[Prediction(") and third.startswith("[[")


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_the_passes_page_names_every_pass() -> None:
    from onnxpress_export.passes import COMMON, CPU, PACKED, PORTABLE

    named = re.findall(r"^\| `(\w+)`", (ROOT / "docs/passes.md").read_text(), re.MULTILINE)
    assert named == list(dict.fromkeys([*COMMON, *PORTABLE, *CPU, *PACKED]))


def test_the_benchmarks_page_names_every_peer() -> None:
    from onnxpress_bench.peers import PEERS

    page = (ROOT / "docs/benchmarks.md").read_text()
    named = [
        name for row in re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", row)
    ]
    assert sorted(named) == sorted(PEERS)


def test_the_workflow_uses_options_that_exist() -> None:
    workflow = yaml.safe_load((ROOT / "examples/performance.yml").read_text())
    (command,) = [step["run"] for step in workflow["jobs"]["gate"]["steps"] if "bench compare" in step.get("run", "")]
    shown = subprocess.run(
        [sys.executable, "-m", "onnxpress", "bench", "compare", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "200"},
    ).stdout
    options = re.findall(r"--[\w-]+", command)
    assert len(options) == 5 and all(option in shown for option in options)


def test_commands_shown_exist() -> None:
    for command in set(re.findall(r"^    onnxpress (\w+)", README, re.MULTILINE)):
        done = subprocess.run([sys.executable, "-m", "onnxpress", command, "--help"], capture_output=True, timeout=60)
        assert done.returncode == 0, command
