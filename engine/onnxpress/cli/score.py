"""`onnxpress score`: files in, files with answers out."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from types import FrameType
from typing import Annotated, Any, Final, cast

import msgspec
import typer
from rich.console import Console

from onnxpress.errors import JobStoppedError
from onnxpress.scoring.api import score as score_files
from onnxpress.scoring.names import printable
from onnxpress.scoring.options import Engine, Format, OnBadRow
from onnxpress.scoring.summary import Progress, ScoreSummary
from onnxpress.tasks.zero_shot import split_labels

__all__ = ["score"]

_INTERRUPTED: Final = 130
_SECONDS_A_LINE: Final = 10.0
_SECONDS_ESTIMATED: Final = 600.0  # a large model may take a minute for a chunk


def score(
    artifact: Annotated[str, typer.Argument(help="The artifact's directory.")],
    input: Annotated[str, typer.Argument(help="A file, glob, directory or URL; - for standard input.")],
    output: Annotated[str, typer.Argument(help="A file, in the format that its name tells; or a directory.")],
    text_column: Annotated[str, typer.Option(help="The column to classify.")] = "text",
    pair_column: Annotated[str | None, typer.Option(help="The second text of a sentence pair.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="What to add, with commas between: label, score, probabilities, logits, accepted, top3 (any number), "
            "stage.",
            show_default="label,score",
        ),
    ] = None,
    zero_shot_labels: Annotated[
        str | None,
        typer.Option(help="Choose from these, separated by commas, instead of the model's own (zero-shot, by NLI)."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="The sentence that each of these labels becomes.", show_default="This example is {}."),
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Judge each of these labels by itself, not against the others.")
    ] = False,
    input_format: Annotated[str | None, typer.Option(help="csv, tsv, jsonl, parquet or txt (a text a line).")] = None,
    output_format: Annotated[str | None, typer.Option(help="csv, tsv, jsonl or parquet.")] = None,
    quoted_tsv: Annotated[
        bool, typer.Option("--quoted-tsv", help="Fields of TSV are quoted as in CSV, not taken as they stand.")
    ] = False,
    on_bad_row: Annotated[str, typer.Option(help="error, null or skip.")] = "error",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads, of each worker.")] = None,
    max_characters: Annotated[int, typer.Option(help="Characters a text may have.")] = 100_000,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again, and replace OUTPUT.")] = False,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    workers: Annotated[int, typer.Option(help="Ray actors, each with an engine.")] = 1,
    gpus_per_worker: Annotated[float, typer.Option(help="GPUs of each Ray actor.")] = 0,
    ray_address: Annotated[str | None, typer.Option(help="A Ray cluster that runs, instead of a local one.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Also write a profile of the answers there, for `onnxpress drift`.")
    ] = None,
    summary: Annotated[Path | None, typer.Option(help="Also write the summary there, as JSON.")] = None,
) -> None:
    """Classify the rows of files. Killed, the same command goes on where it was."""
    stop = Event()
    try:
        with _interrupts(stop), _progress() as show:
            found = score_files(
                artifact,
                input,
                output,
                text_column=text_column,
                pair_column=pair_column,
                columns=None if columns is None else [name.strip() for name in columns.split(",")],
                zero_shot_labels=None if zero_shot_labels is None else split_labels(zero_shot_labels),
                template=template,
                multi_label=multi_label,
                input_format=cast("Format | None", input_format),
                output_format=cast("Format | None", output_format),
                quoted_tsv=quoted_tsv,
                on_bad_row=cast("OnBadRow", on_bad_row),
                device=device,
                precision=precision,
                threads=threads,
                max_characters=max_characters,
                restart=restart,
                profile=profile,
                engine=cast("Engine", engine),
                workers=workers,
                gpus_per_worker=gpus_per_worker,
                ray_address=ray_address,
                on_progress=show,
                stop=stop,
            )
    except JobStoppedError as error:
        again = f"the same command{' without --restart' if restart else ''}"
        typer.echo(f"{error.output}: stopped with {error.rows:,} rows committed; {again} continues", err=True)
        raise typer.Exit(_INTERRUPTED) from error
    if summary is not None:
        rejected = found.rejected_file and printable(found.rejected_file)
        written = found.profile and printable(found.profile)
        told = msgspec.structs.replace(found, output=printable(found.output), rejected_file=rejected, profile=written)
        summary.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    typer.echo(_told(found), err=True)


@contextmanager
def _interrupts(stop: Event) -> Iterator[None]:
    """The first Ctrl-C sets `stop`; the second one ends at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)
        typer.echo("finishing the part in hand; press Ctrl-C again to leave it", err=True)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar with the time that is left on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True, highlight=False)
    began = monotonic()
    if not console.is_terminal:
        shown = began

        def line(progress: Progress) -> None:
            nonlocal shown
            if monotonic() - shown >= _SECONDS_A_LINE:
                shown = monotonic()
                console.print(_words(progress, shown - began))

        yield line
        return
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Bar(*columns, console=console, speed_estimate_period=_SECONDS_ESTIMATED) as bar:
        task: Any = bar.add_task("loading", total=None)

        def update(progress: Progress) -> None:
            total = None if progress.share is None else 1.0
            bar.update(
                task, description=_words(progress, monotonic() - began), completed=progress.share or 0, total=total
            )

        yield update


def _words(progress: Progress, seconds: float) -> str:
    share = "" if progress.share is None else f" ({progress.share:.0%})"
    return f"{progress.rows:,} rows{share}, {(progress.rows - progress.resumed) / seconds:,.0f} rows/s"


def _told(summary: ScoreSummary) -> str:
    speed = f"{summary.rows_per_second:,.0f} rows/s"
    lines = [f"{printable(summary.output)}: {summary.rows:,} rows in {summary.seconds:,.1f} s, {speed}"]
    if summary.resumed:
        lines.append(f"{summary.resumed:,} of them by earlier runs")
    if summary.lines is not None and summary.lines != summary.rows:
        lines.append(f"{summary.lines:,} lines were read for them: fields in quotes hold line breaks")
    if summary.rejected_file is not None:
        lines.append(f"{summary.rejected:,} rejected: {printable(summary.rejected_file)}")
    lines += [f"column {wanted} is named {name}" for wanted, name in summary.columns.items() if wanted != name]
    if len(summary.answered) > 1:
        lines.append("answered by " + ", ".join(f"{stage} {share:.2%}" for stage, share in summary.answered.items()))
    lines += [f"warning: {warning}" for warning in summary.warnings]
    lines += [f"{count:>12,}  {label}" for label, count in sorted(summary.labels.items(), key=lambda item: -item[1])]
    return "\n".join(lines)
