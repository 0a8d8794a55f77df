"""A scoring job: what it is, what of it is done, and doing the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import BinaryIO, Final
from uuid import uuid4

from onnxpress.artifacts.artifact import Artifact, open_artifact
from onnxpress.errors import (
    ConfigError,
    JobChangedError,
    JobError,
    JobStoppedError,
    OnnxpressError,
    OutputExistsError,
    TaskError,
)
from onnxpress.scoring.arithmetic import require_all_read
from onnxpress.scoring.assemble import publish, publish_rejects
from onnxpress.scoring.chosen_labels import chosen_labels
from onnxpress.scoring.columns import plan_columns
from onnxpress.scoring.engine import EngineSettings, settle_engine
from onnxpress.scoring.facts import job_facts, require_same_facts
from onnxpress.scoring.files import InputFile, describe_file, find_files, spool
from onnxpress.scoring.journal import Header, Journal, PartRecord
from onnxpress.scoring.layout import input_format, read_layout
from onnxpress.scoring.lock import hold_lock
from onnxpress.scoring.names import local_name
from onnxpress.scoring.options import STDIN, Format, ScoreOptions, require_use
from onnxpress.scoring.parts import part_is_there
from onnxpress.scoring.pipeline import all_items, part_starts, score_items
from onnxpress.scoring.placing import mark_of
from onnxpress.scoring.plain_tsv import require_writable_names
from onnxpress.scoring.plan import Plan, open_classifier
from onnxpress.scoring.ray_engine import score_with_ray
from onnxpress.scoring.source import Source
from onnxpress.scoring.summary import Progress, ScoreSummary
from onnxpress.scoring.target import (
    Target,
    find_profile,
    find_target,
    require_apart,
    require_free,
    require_replaceable,
)
from onnxpress.scoring.values import unique_names
from onnxpress.watching.counts import Counts, summed
from onnxpress.watching.profile import profile_of, write_profile
from onnxpress.watching.stage_shares import unusual_shares

__all__ = ["OnProgress", "run_job"]

_OWN: Final = ("parts-*", "rejects-*", "stdin.*", "output.tmp", "rejected.tmp", "replaced")

OnProgress = Callable[[Progress], None]


def run_job(
    artifact: str,
    source: str,
    output: str,
    options: ScoreOptions,
    *,
    stdin: BinaryIO | None,
    on_progress: OnProgress,
    stop: Event,
) -> ScoreSummary:
    """Score `source` into `output`, going on where an earlier run ended; `onnxpress.score` describes it."""
    began = perf_counter()
    source, output = local_name(source), local_name(output)
    names = [STDIN] if source == STDIN else find_files(source)
    kind = input_format(names, options.input_format)
    target = find_target(output, kind, options)
    require_use(kind, target.format, options)
    require_apart(source, names, target)
    profile = None if options.profile is None else find_profile(options.profile, source, names, target)
    opened = open_artifact(Path(artifact))
    _require_task(opened, options)
    with _writing(target), hold_lock(target.state, output), _cleared(target.state):
        journal, plan = _open(opened, names, kind, target, options, stdin)
        resumed = _count(journal)
        if journal.published is None:
            _score(plan, journal, options, on_progress, stop, target)
            _require_unchanged(plan, target)
            require_all_read(plan.source, journal.records(), output)
            require_replaceable(target)
            replaces = journal.header.replaces
            publish_rejects(plan, journal.records(), target.rejects, replaces.get(target.rejects))
            publish(plan, journal.records(), output, replaces.get(output))
            journal.publish(mark_of(output))
        records = journal.records()
        seen = summed(record.seen for record in records)
        if profile is not None:  # before the journal goes, so that a run that is killed here writes it when it goes on
            write_profile(profile, profile_of(plan.manifest, seen))
        _clear_parts(target.state)
        (target.state / "journal").unlink()
    return _summary(plan, records, target, seen, resumed, options.profile, perf_counter() - began)


def _require_task(artifact: Artifact, options: ScoreOptions) -> None:
    """Raise ConfigError where something is asked for that is of labels of texts, and the artifact labels tokens."""
    if artifact.manifest.task != "token-classification":
        return
    if options.pair_column is not None:
        raise ConfigError(f"{artifact.path} labels the tokens of one text; leave --pair-column (pair_column=) out")
    if options.zero_shot_labels is not None:
        raise TaskError("--labels (zero_shot_labels=)", artifact.manifest.task)
    if options.profile is not None:
        raise ConfigError(f"{artifact.path} labels tokens; a profile (--profile, profile=) is of labels of texts")


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
    artifact: Artifact,
    names: Sequence[str],
    kind: Format,
    target: Target,
    options: ScoreOptions,
    stdin: BinaryIO | None,
) -> tuple[Journal, Plan]:
    """The journal, continued or new, and the plan that it stands for. What a job before has committed is still kept."""
    require_replaceable(target)
    path = target.state / "journal"
    journal = None if options.restart else Journal.open(path)
    if journal is None and not options.restart:
        require_free(target)
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
            quoted_tsv=options.quoted_tsv,
        )
        marks = {name: mark_of(name) for name in (target.name, target.rejects)}
        replaces = {name: mark for name, mark in marks.items() if mark is not None}
        journal = Journal(path, Header(job=uuid4().hex, facts=facts, layout=layout, replaces=replaces))
        return journal, _plan(artifact, engine, journal.header, files, kind, target, options)
    require_same_facts(journal.header.facts, facts, journal.on_bad_row, target.name)
    if journal.on_bad_row != options.on_bad_row:
        journal.change_bad_rows(options.on_bad_row)
    plan = _plan(artifact, engine, journal.header, files, kind, target, options)
    if journal.published is not None and (found := mark_of(target.name)) != journal.published:
        if found is not None:
            raise OutputExistsError(target.name, "--restart (restart=True)")
        journal.published = None  # it was taken away before the job had cleared up
    is_moved = plan.is_folder and not plan.parts.exists() and Path(target.name).is_dir()
    if journal.published is None and not is_moved:
        journal.parts = {part: record for part, record in journal.parts.items() if part_is_there(plan, record)}
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
    taken = unique_names(layout.names) if target.format == "jsonl" else layout.names
    hypotheses, manifest = chosen_labels(artifact.manifest, options)
    columns = plan_columns(options.columns, manifest, taken)
    if target.format == "tsv" and not options.quoted_tsv:
        require_writable_names([*layout.names, *(column.name for column in columns)], target.name)
    return Plan(
        artifact=str(artifact.path.resolve()),
        manifest=manifest,
        hypotheses=hypotheses,
        engine=engine,
        source=Source(
            files=files,
            format=kind,
            layout=layout,
            text_column=options.text_column,
            pair_column=options.pair_column,
            quoted_tsv=options.quoted_tsv,
        ),
        columns=columns,
        on_bad_row=options.on_bad_row,
        parts=state / f"parts-{header.job}",
        rejects=state / f"rejects-{header.job}",
        format=target.format,
        compression=target.compression,
        is_folder=target.is_folder,
    )


def _score(
    plan: Plan, journal: Journal, options: ScoreOptions, on_progress: OnProgress, stop: Event, target: Target
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

        _begin(plan, journal, target)
        is_complete = score_with_ray(plan, starts, options, on_part=on_part, stop=stop)
    else:
        with open_classifier(plan) as classifier:
            _begin(plan, journal, target)
            items = all_items(plan, classifier, journal.parts)
            is_complete = score_items(plan, classifier, items, on_part=journal.commit, on_rows=on_rows, stop=stop)
    if not is_complete:
        raise JobStoppedError(target.name, _count(journal))


def _begin(plan: Plan, journal: Journal, target: Target) -> None:
    """Make the folders of the parts; and forget the job before, now that nothing but a row can be wrong with this."""
    if journal.is_new:
        (target.state / "journal").unlink(missing_ok=True)
        kept = {Path(file.name).name for file in plan.source.files if Path(file.name).parent == target.state}
        for path in _own_files(target.state):
            if path.name not in kept:
                _remove(path)
    is_moved = plan.is_folder and not plan.parts.exists() and len(journal.parts) > 0
    if not is_moved:
        plan.parts.mkdir(exist_ok=True)
    plan.rejects.mkdir(exist_ok=True)


def _require_unchanged(plan: Plan, target: Target) -> None:
    for file in plan.source.files:
        if Path(file.name).parent != target.state and describe_file(file.name) != file:
            raise JobChangedError(
                target.name, f"the input file {file.name} changed while it was read. Pass --restart (restart=True)."
            )


def _count(journal: Journal) -> int:
    return sum(record.rows for record in journal.parts.values())


def _summary(
    plan: Plan,
    records: Sequence[PartRecord],
    target: Target,
    seen: Counts,
    resumed: int,
    profile: str | None,
    seconds: float,
) -> ScoreSummary:
    rows, scored = sum(record.rows for record in records), sum(record.scored for record in records)
    return ScoreSummary(
        output=target.name,
        rows=rows,
        scored=scored,
        rejected=rows - scored,
        rejected_file=target.rejects if rows > scored else None,
        lines=None if plan.source.format == "parquet" else sum(record.lines for record in records),
        labels={label: seen.labels.get(index, 0) for index, label in enumerate(plan.manifest.labels) if seen.labels},
        answered={stage: count / seen.texts for stage, count in seen.answered.items()},
        warnings=unusual_shares(plan.manifest.cascade, seen.answered),
        columns={column.wanted: column.name for column in plan.columns},
        parts=len(records),
        resumed=resumed,
        profile=profile,
        seconds=seconds,
        rows_per_second=(rows - resumed) / seconds,
    )


def _clear_parts(state: Path) -> None:
    """Remove from the folder `state` what jobs have put there, but for the lock and the journal."""
    for path in _own_files(state):
        _remove(path)


def _own_files(state: Path) -> list[Path]:
    return [path for pattern in _OWN for path in state.glob(pattern)]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
