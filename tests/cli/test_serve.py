"""`onnxpress serve` as a process: it answers, ends by itself at SIGTERM, and refuses bad input in one line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")

COMMAND = (sys.executable, "-m", "onnxpress", "serve")


def refused(*arguments: str, **variables: str) -> str:
    """The one line of a server that does not start."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, env=os.environ | variables
    )
    assert done.returncode == 2 and not done.stdout, done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_until_it_is_asked_to_end(artifact: Path, asked: signal.Signals) -> None:
    command = [*COMMAND, f"reviews={artifact}", "--port", "0", "--threads", "1", "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            (url,) = re.fullmatch(r"serving reviews on (http://127\.0\.0\.1:\d+)\n", line).groups()  # type: ignore[union-attr]
            found = httpx.post(f"{url}/predict", json={"inputs": "good film"}, timeout=30, trust_env=False)
            assert {one["label"] for one in found.json()} == {"negative", "positive"}
            process.send_signal(asked)
            assert process.wait(30) == 0 and process.stderr.read() == ""
        finally:
            process.kill()


def test_a_token_of_the_environment(artifact: Path) -> None:
    command = [*COMMAND, str(artifact), "--port", "0", "--threads", "1", "--device", "cpu"]
    environment = os.environ | {"ONNXPRESS_TOKEN": "letmein"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[-1]
            assert httpx.get(f"{url}/info", timeout=30, trust_env=False).status_code == 401
            given = {"Authorization": "Bearer letmein"}
            assert httpx.get(f"{url}/info", timeout=30, trust_env=False, headers=given).status_code == 200
        finally:
            process.kill()


def test_a_port_in_use(artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(str(artifact), "--port", str(port))
    assert str(port) in line and "in use" in line and "--port" in line


def test_what_cannot_be_served(artifact: Path, tmp_path: Path) -> None:
    assert "no such directory" in refused(str(tmp_path / "none"), "--port", "0")
    assert "not an onnxpress artifact" in refused(str(tmp_path), "--port", "0")
    broken = shutil.copytree(artifact, tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{}")
    assert "tokenizer.json" in refused(str(artifact), str(broken), "--port", "0", "--device", "cpu")


def test_two_of_one_name(artifact: Path) -> None:
    line = refused(str(artifact), str(artifact), "--port", "0")
    assert "two artifacts are named 'artifact'" in line and "NAME=PATH" in line
    assert "two artifacts are named 'a'" in refused(f"a={artifact}", f"a={artifact}", "--port", "0")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "70000"),
        ("--port", "-1"),
        ("--host", "no.such.host.invalid"),
        ("--host", "192.0.2.1"),
        ("--token", ""),
        ("--token", "två"),
        ("--timeout", "0"),
        ("--timeout", "nan"),
        ("--max-texts", "0"),
        ("--max-texts", "2000"),
        ("--max-body", "0"),
        ("--close-seconds", "-1"),
        ("--precision", "fp64"),
        ("--optimize-for", "fun"),
    ],
)
def test_settings_out_of_range(artifact: Path, arguments: tuple[str, ...]) -> None:
    port = () if "--port" in arguments else ("--port", "0")
    assert refused(str(artifact), *arguments, *port)


@pytest.mark.parametrize("name", ["a/b", "", "..", "a b"])
def test_a_name_that_no_url_holds(artifact: Path, name: str) -> None:
    assert "NAME=PATH" in refused(f"{name}={artifact}", "--port", "0")


def test_a_missing_extra(artifact: Path) -> None:
    hide = (
        "import sys, importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *rest: None if name == 'starlette' else find(name, *rest); "
        "import onnxpress.extras as e; e.find_spec = u.find_spec; "
        "from onnxpress.cli.main import main; sys.argv[1:1] = ['serve']; main()"
    )
    done = subprocess.run([sys.executable, "-c", hide, str(artifact)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "error: starlette is not installed. Run pip install 'onnxpress[serve]'.\n"
