"""CPUs that QEMU's user mode emulates, and a Python with the engine's packages on each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ARM64_ONNXRUNTIME", "Emulated", "arm64_python", "x86_python"]

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / ".emulated"

ARM64_ONNXRUNTIME: Final = "1.26.0"  # newer wheels crash in QEMU 7.2 as they make a session
_WHEELS: Final = ("numpy", "tokenizers", "msgspec", "flatbuffers", "protobuf", "packaging")
_PLATFORMS: Final = (
    "manylinux2014_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_28_aarch64",
)
_DEBIAN: Final = (
    "python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libexpat1 zlib1g libstdc++6 libgcc-s1 libssl3 "
    "libffi8 libbz2-1.0 liblzma5 libuuid1 libcrypt1"
).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """A command that runs Python under an emulated CPU."""

    command: tuple[str, ...]
    environment: dict[str, str]

    def run(self, script: Path, *, cpu: str, stdin: str, timeout: float) -> str:
        """What `script` prints under `cpu`, a name that QEMU has."""
        qemu, *python = self.command
        done = subprocess.run(
            [qemu, "-cpu", cpu, *python, str(script)],
            env={"PATH": os.environ["PATH"], "TOKENIZERS_PARALLELISM": "false", **self.environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4_000:]
        return done.stdout


def x86_python() -> Emulated | None:
    """This Python and its packages; None without QEMU, or on no x86."""
    qemu = shutil.which("qemu-x86_64-static")
    if qemu is None or os.uname().machine != "x86_64":
        return None
    path = os.pathsep.join(filter(None, (str(ROOT / "engine"), os.environ.get("PYTHONPATH"))))
    return Emulated(command=(qemu, sys.executable), environment={"PYTHONPATH": path})


def arm64_python() -> Emulated | None:
    """Debian's Python for ARM64 with wheels for it, in a root that is made once; None without QEMU, apt or Debian."""
    qemu, apt = shutil.which("qemu-aarch64-static"), shutil.which("apt-get")
    if qemu is None or apt is None or not Path("/etc/debian_version").exists():
        return None
    root = KEPT / f"arm64-{ARM64_ONNXRUNTIME}"
    if not root.exists():
        new = KEPT / f".{root.name}.{os.getpid()}"
        try:
            _unpack_debian(apt, new)
            _unpack_wheels(new)
            new.rename(root)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    path = os.pathsep.join((str(ROOT / "engine"), str(root / "site")))
    return Emulated(command=(qemu, "-L", str(root), str(root / "usr/bin/python3.11")), environment={"PYTHONPATH": path})


def _unpack_debian(apt: str, root: Path) -> None:
    """Unpack packages for ARM64, which this system need not know: apt's state is kept apart from its own."""
    state = root / "apt"
    for folder in ("lists/partial", "cache/archives/partial", "packages"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
    }
    command = [apt, "-qq", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    subprocess.run([*command, "update"], check=True, timeout=600)
    subprocess.run([*command, "download", *_DEBIAN], cwd=state / "packages", check=True, timeout=600)
    for package in (state / "packages").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True, timeout=60)
    shutil.rmtree(state)


def _unpack_wheels(root: Path) -> None:
    wheels = root / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
    pip += ["--only-binary=:all:", "--python-version=311", "--dest", str(wheels)]
    pip += [f"--platform={name}" for name in _PLATFORMS]
    subprocess.run([*pip, f"onnxruntime=={ARM64_ONNXRUNTIME}", *_WHEELS], check=True, timeout=600)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root / "site")
    shutil.rmtree(wheels)
