"""`onnxpress.score`: imports pyarrow only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from os import PathLike, fspath
from threading import Event

from onnxpress.extras import require
from onnxpress.scoring.options import Engine, Format, OnBadRow, ScoreOptions
from onnxpress.scoring.summary import Progress, ScoreSummary

__all__ = ["score"]


def score(
    artifact: str | PathLike[str],
    input: str | PathLike[str],
    output: str | PathLike[str],
    *,
    text_column: str = "text",
    pair_column: str | None = None,
    columns: Sequence[str] | None = None,
    zero_shot_labels: Sequence[str] | None = None,
    template: str | None = None,
    multi_label: bool = False,
    input_format: Format | None = None,
    output_format: Format | None = None,
    quoted_tsv: bool = False,
    on_bad_row: OnBadRow = "error",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    max_characters: int = 100_000,
    restart: bool = False,
    profile: str | PathLike[str] | None = None,
    engine: Engine = "local",
    workers: int = 1,
    gpus_per_worker: float = 0,
    ray_address: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Event | None = None,
) -> ScoreSummary:
    """Classify every row of files into files with the answers beside; a call that was killed is gone on with.

    docs/scoring.md describes formats, guarantees and the state that is kept beside the output meanwhile.

    Args:
        artifact: As `load` takes it.
        input: CSV, TSV, JSONL, a text a line (.txt; all also .gz and .zst) or Parquet: a file, a glob, a directory of
            such files, a URL that fsspec opens, or "-" for standard input.
        output: A file of one of these formats, by its name; or a directory, of part files. It appears once whole.
        text_column: The column to classify; the name of the one that plain text makes.
        pair_column: The second text of a sentence pair.
        columns: What to add: of "label", "score", "probabilities", "logits", "accepted", "top3" (any number) and
            "stage"; None for label and score, or a regression's values. Where tokens have the labels, of "entities",
            which None stands for, "entities_first", "entities_average", "entities_max", "tokens" and "stage".
        zero_shot_labels: The labels to choose from instead of the model's own, which must be one of natural language
            inference (`Classifier.zero_shot`).
        template: The sentence that each of these becomes, with {} in its place; None for "This example is {}.".
        multi_label: Whether each of these is judged by itself.
        input_format: "csv", "tsv", "jsonl", "parquet" or "txt"; None for what the names tell.
        output_format: The same but for "txt"; of a directory, the input's by default.
        quoted_tsv: Whether fields of TSV, read or written, are quoted as in CSV; they stand as they are otherwise.
        on_bad_row: What becomes of a row that cannot be classified: "error" ends with BadRowError; "null" keeps it
            without an answer, "skip" leaves it out, and both note it in `output`.rejected.jsonl with the reason.
        device: As `load` takes it.
        precision: As `load` takes it.
        threads: CPU threads, of each worker; None for all that this process may use, or 1 with Ray.
        max_characters: Characters a text may have; a longer one makes its row bad.
        restart: Whether to begin again, and replace `output`.
        profile: A file for the job's profile, which `onnxpress drift` compares with another; one that is there is
            replaced.
        engine: "local", or "ray" for Ray Data.
        workers: Ray actors, each with an engine.
        gpus_per_worker: GPUs of each.
        ray_address: A Ray cluster that runs; None for a local one.
        on_progress: Called after each chunk of rows, by another thread.
        stop: Set it to end after the part in hand, with JobStoppedError.

    Raises:
        BadRowError: A row cannot be classified, with on_bad_row="error".
        JobChangedError: Parts are committed, of another input, artifact, engine or setting.
        JobLockedError: Another run works on `output`.
        JobError: `output` cannot be written, or is not what a job has written.
        JobStoppedError: `stop` was set.
        OutputExistsError: There is such an `output`, and no job to go on with.
        ArtifactError, ConfigError, DeviceUnavailableError, MissingDependencyError: As `load`; or a setting is outside
            its range, or the input cannot be read.
    """
    options = ScoreOptions(
        text_column=text_column,
        pair_column=pair_column,
        columns=None if columns is None else tuple(columns),
        zero_shot_labels=None if zero_shot_labels is None else tuple(zero_shot_labels),
        template=template,
        multi_label=multi_label,
        input_format=input_format,
        output_format=output_format,
        quoted_tsv=quoted_tsv,
        on_bad_row=on_bad_row,
        device=device,
        precision=precision,
        threads=threads,
        max_characters=max_characters,
        restart=restart,
        profile=None if profile is None else fspath(profile),
        engine=engine,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        ray_address=ray_address,
    )
    require(("pyarrow", "fsspec"), extra="score")
    if engine == "ray":
        require(("ray",), extra="ray")
    from onnxpress.scoring.job import run_job

    return run_job(
        fspath(artifact),
        fspath(input),
        fspath(output),
        options,
        stdin=getattr(sys.stdin, "buffer", None),
        on_progress=on_progress or (lambda progress: None),
        stop=stop or Event(),
    )
