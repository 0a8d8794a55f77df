"""Nothing foreign on the terminal, and no traceback, but with --debug."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOISE = (
    "import logging, warnings\n"
    "from onnxpress.cli import main\n"
    "def tune(artifact: str) -> None:\n"
    "    logging.getLogger('some.library').warning('a foreign log')\n"
    "    warnings.warn('a foreign warning')\n"
    "    logging.getLogger('onnxpress').warning('our own words')\n"
    "    {then}\n"
    "main.app.registered_commands = [c for c in main.app.registered_commands if c.callback.__name__ != 'tune']\n"
    "main.app.command()(tune)\n"
    "main.main()\n"
)


def run(then: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", NOISE.format(then=then), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_foreign_words_are_for_debug_alone() -> None:
    quiet, loud = run("pass", "tune", "x"), run("pass", "--debug", "tune", "x")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "our own words\n")
    for words in ("a foreign log", "a foreign warning", "our own words"):
        assert words in loud.stderr


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        ("KeyError('id2label')", "unexpected KeyError: 'id2label'. This is a mistake in onnxpress"),
        ("ValueError('two\\nlines')", "unexpected ValueError: two lines. "),
        ("RecursionError()", "unexpected RecursionError. This is"),
        ("MemoryError()", "unexpected MemoryError. "),
        ("RuntimeError('it broke.')", "unexpected RuntimeError: it broke. This"),
    ],
)
def test_what_nobody_foresaw_is_one_line_and_status_1(raised: str, says: str) -> None:
    done = run(f"raise {raised}", "tune", "x")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {says}") and "`onnxpress --debug …`" in last
    assert "Traceback" in run(f"raise {raised}", "--debug", "tune", "x").stderr


def test_the_shells_own_errors_stay_as_they_are() -> None:
    assert run("import typer; raise typer.Exit(3)", "tune", "x").returncode == 3
    wrong = run("pass", "tune")
    assert wrong.returncode == 2 and "Missing argument" in wrong.stderr and "unexpected" not in wrong.stderr
