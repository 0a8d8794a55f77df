"""Where a call is missing, what stands in for it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import onnxpress
from onnxpress import loading, system
from onnxpress.hardware import cpu
from onnxpress.tuned import beside

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="Unix's")
CALLS = ("sched_getaffinity", "sched_setaffinity", "getloadavg", "geteuid", "register_at_fork", "mkfifo")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that has none of the calls that Windows lacks."""
    for name in CALLS:
        monkeypatch.delattr(os, name, raising=False)


@pytest.mark.usefixtures("bare")
def test_a_system_without_them_is_served(artifact: Path, texts: list[str], tmp_path: Path) -> None:
    assert (system.thread_cpus(), system.can_pin(), system.user_id(), system.load_average()) == (None, False, None, 0.0)
    assert system.call_after_fork(lambda: None) is None  # type: ignore[func-returns-value]
    assert cpu.available_cpus(tmp_path) == (os.cpu_count() or 1)
    assert beside.owned_by_us(artifact.stat(), artifact)
    with onnxpress.load(artifact, workers=2, threads=4) as classifier:
        assert len(classifier(texts)) == len(texts)
    with pytest.raises(onnxpress.ConfigError, match="Linux only"):
        loading._check_affinity([0], 1)


def test_nothing_else_asks_for_them() -> None:
    """Each of these has one place, so that each has its fallback."""
    rare = (*CALLS[:-1], "import fcntl", "import msvcrt", "O_NONBLOCK")
    for file in Path(onnxpress.__file__).parent.rglob("*.py"):
        if file.name != "system.py":
            assert not [name for name in rare if name in file.read_text()], file


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"max 100000"])
def test_what_the_kernel_does_not_tell_is_empty(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "told"
    if content is not None:
        file.write_bytes(content)
    assert system.kernel_file(file) == (content or b"").decode(errors="replace")
    assert system.kernel_file(tmp_path) == ""


@pytest.mark.parametrize("quota", ["100000 0", "nonsense", "-1 -1 -1", ""])
def test_a_nonsensical_quota_is_none(tmp_path: Path, quota: str) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cpu.cpu_quota(tmp_path) is None


def test_a_lock_holds_against_another_process_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b" ")
    code = (
        "import os, sys; from onnxpress.system import lock_file\n"
        "try: lock_file(os.open(sys.argv[1], os.O_RDWR))\n"
        "except BlockingIOError: print('held')\n"
        "else: print('free')"
    )

    def ask() -> str:
        return subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
        ).stdout.strip()

    descriptor = os.open(path, os.O_RDWR)
    system.lock_file(descriptor)
    assert ask() == "held"
    os.close(descriptor)
    assert ask() == "free"


def test_a_file_takes_anothers_place(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new")
    old.write_text("old")
    system.replace_file(new, old)
    assert old.read_text() == "new" and not new.exists()
    with pytest.raises(FileNotFoundError):
        system.replace_file(new, old)


@pytest.mark.parametrize(("platform", "busy", "done"), [("win32", 3, True), ("win32", 99, False), ("linux", 1, False)])
def test_windows_is_asked_again_while_another_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, busy: int, done: bool
) -> None:
    tries: list[int] = []

    def replace(*_: object) -> None:
        tries.append(1)
        if len(tries) <= busy:
            raise PermissionError(13, "in use by another process")

    monkeypatch.setattr(system.sys, "platform", platform)
    monkeypatch.setattr(system, "sleep", lambda _: None)
    monkeypatch.setattr(system.os, "replace", replace)
    if done:
        system.replace_file(tmp_path, tmp_path)
    else:
        with pytest.raises(PermissionError):
            system.replace_file(tmp_path, tmp_path)
    assert len(tries) == (busy + 1 if done else 10 if platform == "win32" else 1)


@UNIX
def test_a_pipe_is_opened_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.close(system.open_without_waiting(tmp_path / "pipe"))
