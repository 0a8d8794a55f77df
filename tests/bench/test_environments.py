from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onnxpress_bench import environments
from onnxpress_bench.environments import EnvironmentFailedError, environment_python, requirements_of
from onnxpress_bench.peers import PEERS


def test_only_what_clashes_gets_an_environment(tmp_path: Path) -> None:
    assert environment_python("pipeline", tmp_path) == sys.executable and list(tmp_path.iterdir()) == []
    apart = {name for name, (_, kind, _, _) in PEERS.items() if requirements_of(kind)}
    assert apart == {"cross-encoder", "optimum", "optimum-o2", "optimum-int8", "openvino", "openvino-int8"}
    assert all("==" in requirement for requirement in requirements_of("optimum")[2:])


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], kind: str, timeout: float) -> None:
        ran.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir()

    monkeypatch.setattr(environments, "_run", run)
    first = environment_python("optimum", tmp_path)
    assert environment_python("optimum", tmp_path) == first and len(ran) == 2
    assert first.startswith(str(tmp_path)) and "transformers==4.57.6" in ran[1]


def test_what_cannot_be_installed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "requirements_of", lambda kind: ("no-such-package-as-this==0",))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(EnvironmentFailedError, match="the environment of openvino cannot be made: ERROR: "):
        environment_python("openvino", tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


def test_an_installation_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("pip", 5)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(EnvironmentFailedError, match="pip install took over 5 s"):
        environments._run(["python", "-m", "pip", "install"], "optimum", 5)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", ["optimum", "optimum-o2", "optimum-int8", "openvino", "openvino-int8"])
def test_each_peer_answers_as_torch_does(name: str, checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    """Real packages, in real environments, kept in the user's cache; int8 only has to answer."""
    import msgspec
    import numpy as np

    from onnxpress_bench.peers import peer_systems
    from onnxpress_bench.process import Python, Worker, this_python, worker_sources
    from onnxpress_bench.runner import cache_home, prepare_peer
    from onnxpress_bench.worker import Answer

    spec, *_ = reversed(peer_systems([name], str(checkpoint), str(tmp_path), texts="these"))  # of two for throughput
    (eager,) = peer_systems(["eager"], str(checkpoint), str(tmp_path))
    with worker_sources() as sources:
        python = prepare_peer(spec, sources, texts[:40], cache_home(), print)
        assert isinstance(python, Python)
        with Worker(name, python, (msgspec.structs.replace(spec, batch_size=8), texts[:40])) as worker:
            found = np.array(worker.ask(Answer()).logits)
    with Worker("eager", this_python(), (eager, texts[:40])) as worker:
        wanted = np.array(worker.ask(Answer()).logits)
    if spec.precision == "int8":
        assert found.shape == wanted.shape and np.isfinite(found).all()
    else:
        np.testing.assert_allclose(found, wanted, atol=2e-3)  # O2 approximates nothing, its fusions reorder sums
