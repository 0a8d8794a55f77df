"""A scoring job: what it is, what of it is done, and doing the rest."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import BinaryIO
from uuid import uuid4

from onnxpress.artifact import Artifact, open_artifact
from onnxpress.errors import JobChangedError, JobError, JobStoppedError, OnnxpressError
from onnxpress.scoring.assemble import publish, publish_rejects
from onnxpress.scoring.columns import plan_columns
from onnxpress.scoring.engine import EngineSettings, settle_engine
from onnxpress.scoring.facts import job_facts, require_same_facts
from onnxpress.scoring.files import InputFile, describe_file, find_files, spool
from onnxpress.scoring.journal import Header, Journal, PartRecord
from onnxpress.scoring.lock import hold_lock
from onnxpress.scoring.options import STDIN, Format, ScoreOptions
from onnxpress.scoring.parts import part_is_there
from onnxpress.scoring.pipeline import all_items, part_starts, score_items
from onnxpress.scoring.plan import Plan, open_classifier
from onnxpress.scoring.ray_engine import score_with_ray
from onnxpress.scoring.source import Source, input_format, read_layout
from onnxpress.scoring.summary import Progress, ScoreSummary
from onnxpress.scoring.target import Target, find_target, require_apart, require_free, require_replaceable

__all__ = ["OnProgress", "run_job"]

OnProgress = Callable[[Progress], None]


def run_job(
    artifact: str,
    source: str,
    output: str,
    options: ScoreOptions,
    *,
    stdin: BinaryIO,
    on_progress: OnProgress,
    stop: Event,
) -> ScoreSummary:
    """Score `source` into `output`, going on where an earlier run ended; `onnxpress.score` describes it."""
    began = perf_counter()
    names = [STDIN] if source == STDIN else find_files(source)
    kind = input_format(names, options.input_format)
    target = find_target(output, kind, options)
    require_apart(names, target)
    opened = open_artifact(Path(artifact))
    with _writing(target), hold_lock(target.state, output), _cleared(target.state):
        journal, plan = _open(opened, names, kind, target, options, stdin)
        resumed = _count(journal)
        if not journal.is_published:
            _score(plan, journal, options, on_progress, stop, output)
            _require_unchanged(plan, target)
            require_replaceable(target)
            publish_rejects(plan, journal.records(), rejects_name(output))
            publish(plan, journal.records(), output)
            journal.publish()
        records = journal.records()
        _clear_parts(target.state)
        (target.state / "journal").unlink()
    return _summary(plan, records, output, resumed, perf_counter() - began)


def rejects_name(output: str) -> str:
    """The file beside `output` that keeps what was rejected."""
    return f"{output.rstrip('/')}.rejected.jsonl"


@contextmanager
def _writing(target: Target) -> Iterator[None]:
    """Tell what the operating system refuses as the job's error."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OnnxpressError):
            raise
        raise JobError(
            target.name,
            f"cannot be written ({error}). What was committed is kept in {target.state}; the same call continues.",
        ) from error


@contextmanager
def _cleared(state: Path) -> Iterator[None]:
    """Leave nothing in the folder `state` when there is no journal in the end."""
    try:
        yield
    finally:
        if not (state / "journal").exists():
            _clear_parts(state)


def _open(
    artifact: Artifact, names: Sequence[str], kind: Format, target: Target, options: ScoreOptions, stdin: BinaryIO
) -> tuple[Journal, Plan]:
    """The journal, continued or new, and the plan that it stands for."""
    require_replaceable(target)
    path = target.state / "journal"
    if options.restart:
        path.unlink(missing_ok=True)
    journal = Journal.open(path)
    if journal is None:
        if not options.restart:
            require_free(target)
        path.unlink(missing_ok=True)
        _clear_parts(target.state)
    spooled = target.state / f"stdin.{kind}"
    files = tuple(describe_file(name) for name in names if name != STDIN) or (spool(stdin, spooled),)
    engine = settle_engine(artifact, options, None if journal is None else journal.header.facts)
    place = "in a folder" if target.is_folder else "in a file"
    formats = f"{kind} to {target.format} {target.compression or 'uncompressed'} {place}"
    facts = job_facts(artifact, engine, files, formats, options)
    if journal is None:
        layout = read_layout(
            files,
            kind,
            text_column=options.text_column,
            pair_column=options.pair_column,
            keep_objects=kind == target.format == "jsonl",
        )
        journal = Journal(path, Header(job=uuid4().hex, facts=facts, layout=layout))
        plan = _plan(artifact, engine, journal.header, files, kind, target, options)
        plan.parts.mkdir()
        plan.rejects.mkdir()
        return journal, plan
    require_same_facts(journal.header.facts, facts, journal.on_bad_row, target.name)
    if journal.on_bad_row != options.on_bad_row:
        journal.change_bad_rows(options.on_bad_row)
    plan = _plan(artifact, engine, journal.header, files, kind, target, options)
    is_moved = plan.is_folder and not plan.parts.exists() and Path(target.name).is_dir()
    if not journal.is_published and not is_moved:
        journal.parts = {part: record for part, record in journal.parts.items() if part_is_there(plan, record)}
        plan.parts.mkdir(exist_ok=True)
        plan.rejects.mkdir(exist_ok=True)
    return journal, plan


def _plan(
    artifact: Artifact,
    engine: EngineSettings,
    header: Header,
    files: tuple[InputFile, ...],
    kind: Format,
    target: Target,
    options: ScoreOptions,
) -> Plan:
    layout, state = header.layout, target.state.resolve()
    return Plan(
        artifact=str(artifact.path.resolve()),
        manifest=artifact.manifest,
        engine=engine,
        source=Source(
            files=files,
            format=kind,
            layout=layout,
            text_column=options.text_column,
            pair_column=options.pair_column,
        ),
        columns=plan_columns(options.columns, artifact.manifest, layout.names),
        on_bad_row=options.on_bad_row,
        parts=state / f"parts-{header.job}",
        rejects=state / f"rejects-{header.job}",
        format=target.format,
        compression=target.compression,
        is_folder=target.is_folder,
    )


def _score(
    plan: Plan, journal: Journal, options: ScoreOptions, on_progress: OnProgress, stop: Event, output: str
) -> None:
    """Score and commit what the journal lacks."""
    resumed = rows = _count(journal)

    def on_rows(count: int, share: float | None) -> None:
        nonlocal rows
        rows += count
        on_progress(Progress(rows=rows, resumed=resumed, share=share))

    if options.engine == "ray":
        starts = part_starts(plan, journal.parts)
        total = len(starts) + len(journal.parts)

        def on_part(record: PartRecord) -> None:
            journal.commit(record)
            on_rows(record.rows, len(journal.parts) / total)

        is_complete = score_with_ray(plan, starts, options, on_part=on_part, stop=stop)
    else:
        with open_classifier(plan) as classifier:
            items = all_items(plan, classifier, journal.parts)
            is_complete = score_items(plan, classifier, items, on_part=journal.commit, on_rows=on_rows, stop=stop)
    if not is_complete:
        raise JobStoppedError(output, _count(journal))


def _require_unchanged(plan: Plan, target: Target) -> None:
    for file in plan.source.files:
        if Path(file.name).parent != target.state and describe_file(file.name) != file:
            raise JobChangedError(
                target.name, f"the input file {file.name} changed while it was read. Pass --restart (restart=True)."
            )


def _count(journal: Journal) -> int:
    return sum(record.rows for record in journal.parts.values())


def _summary(plan: Plan, records: Sequence[PartRecord], output: str, resumed: int, seconds: float) -> ScoreSummary:
    rows, scored = sum(record.rows for record in records), sum(record.scored for record in records)
    counts: Counter[int] = Counter()
    for record in records:
        counts.update(record.labels)
    return ScoreSummary(
        output=output,
        rows=rows,
        scored=scored,
        rejected=rows - scored,
        rejected_file=rejects_name(output) if rows > scored else None,
        labels={label: counts[index] for index, label in enumerate(plan.manifest.labels) if counts},
        columns={column.wanted: column.name for column in plan.columns},
        parts=len(records),
        resumed=resumed,
        seconds=seconds,
        rows_per_second=(rows - resumed) / seconds,
    )


def _clear_parts(state: Path) -> None:
    """Empty the folder `state` but for its lock and its journal."""
    for path in state.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.stem not in ("lock", "journal"):
            path.unlink()
