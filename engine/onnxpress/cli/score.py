"""`onnxpress score`: a file scored to another, and on from where it was killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console

from onnxpress.scoring.job import Progress, ScoreSummary
from onnxpress.scoring.job import score as run_job

__all__ = ["score"]

_EVERY: Final = 5.0
_INTERRUPTED: Final = 130


def score(
    artifact: Annotated[str, typer.Argument(help="The artifact's directory.")],
    input: Annotated[str, typer.Argument(help="A file, a directory of files, or a pattern in quotes.")],
    output: Annotated[Path, typer.Argument(help="The file to write: .csv, .tsv, .jsonl (also .gz, .zst) or .parquet.")],
    text_column: Annotated[str, typer.Option(help="The column of texts.")] = "text",
    pair_column: Annotated[str | None, typer.Option(help="The column of second texts, for pairs.")] = None,
    top_k: Annotated[int, typer.Option(help="How many labels with their scores.")] = 1,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Add the score of every label.")] = False,
    on_bad_row: Annotated[str, typer.Option(help="error, null or skip.")] = "error",
    restart: Annotated[bool, typer.Option("--restart", help="Begin again, whatever is done already.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
    summary: Annotated[Path | None, typer.Option(help="Also write the summary to this JSON file.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads to use.")] = None,
) -> None:
    """Score the rows of files; the same command goes on where it was interrupted."""
    with _stop_on_interrupt() as interrupted:
        found = run_job(
            artifact,
            input,
            output,
            text_column=text_column,
            pair_column=pair_column,
            top_k=top_k,
            probabilities=probabilities,
            on_bad_row=on_bad_row,  # type: ignore[arg-type]  # checked by the job
            restart=restart,
            force=force,
            device=device,
            precision=precision,
            threads=threads,
            on_progress=_Words(),
            stop=lambda: bool(interrupted),
        )
    if summary is not None:
        summary.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    Console(stderr=True, highlight=False).print(_said(found))
    if not found.finished:
        raise typer.Exit(_INTERRUPTED)


@contextmanager
def _stop_on_interrupt() -> Iterator[list[int]]:
    """What this yields holds something once Ctrl-C was pressed; pressed again, it interrupts at once."""
    pressed: list[int] = []

    def press(number: int, frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


class _Words:
    """Rows and speed on standard error: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._begin = self._last = monotonic()
        self._first: int | None = None

    def __call__(self, progress: Progress) -> None:
        now = monotonic()
        if self._first is None:
            self._first, self._begin = progress.rows, now
        if now - self._last < (0.2 if self._console.is_terminal else _EVERY):
            return
        self._last = now
        speed = (progress.rows - self._first) / max(now - self._begin, 1e-9)
        words = f"{progress.rows:,} rows, {speed:,.0f} rows/s"
        self._console.print(words, end="\r" if self._console.is_terminal else "\n")


def _said(found: ScoreSummary) -> str:
    if not found.finished:
        return f"stopped behind {found.rows:,} rows; the same command goes on from there"
    labels = ", ".join(f"{label} {count:,}" for label, count in sorted(found.labels.items(), key=lambda kv: -kv[1])[:8])
    speed = f"{found.scored / found.seconds:,.0f} rows/s" if found.seconds else ""
    renamed = [f"{plain} is called {name}" for plain, name in found.columns.items() if plain != name]
    bad = f"; {found.bad:,} bad rows" if found.bad else ""
    return "; ".join([f"{found.written:,} rows ({labels}){bad}", f"{found.seconds:.1f} s, {speed}", *renamed])
