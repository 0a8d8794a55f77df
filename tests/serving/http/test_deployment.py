"""The files with which a server is put into a container or under systemd."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "examples/serve"


def test_every_option_exists() -> None:
    dockerfile, unit = (FOLDER / "Dockerfile").read_text(), (FOLDER / "onnxpress.service").read_text()
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", dockerfile, re.MULTILINE)
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    shown = subprocess.run(
        [sys.executable, "-m", "onnxpress", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "200"},
    ).stdout
    for command in (json.loads(entry), start.split()):
        assert command[1] == "serve" and Path(command[0]).name == "onnxpress"
        assert all(word in shown for word in command if word.startswith("--"))


def test_the_container_has_no_more_rights_than_it_needs() -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text()
    (user,) = re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)
    (extras,) = re.findall(r"'\.\[(.*)\]'", dockerfile)
    assert user != "0" and extras == "cpu,metrics,serve"
    (service,) = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"].values()
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.skipif(os.name == "nt", reason="directories that cannot be written to")
def test_it_writes_nowhere(artifact: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    nowhere = {name: "/nonexistent" for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    command = [sys.executable, "-m", "onnxpress", "serve", f"reviews={artifact}", "--port", "0", "--threads", "1"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=os.environ | nowhere
    ) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[-1]
            answer = httpx.post(f"{url}/predict", json={"inputs": "good film"}, timeout=30, trust_env=False)
            assert answer.status_code == 200
        finally:
            process.kill()
    assert not list(tmp_path.iterdir())
