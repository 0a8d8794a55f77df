"""`onnxpress.score`: one file to another, and where it was killed, on from there."""

from __future__ import annotations

import shutil
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from onnxpress.artifact import open_artifact
from onnxpress.classifier import Classifier
from onnxpress.errors import BadRowError, ConfigError, OutputExistsError
from onnxpress.loading import load
from onnxpress.manifest import MANIFEST_NAME
from onnxpress.scoring.assemble import assemble, finish_interrupted
from onnxpress.scoring.columns import Columns, column_names, part_bytes
from onnxpress.scoring.formats import Format, format_of, import_pyarrow
from onnxpress.scoring.journal import Header, Journal, PartRecord, locked, state_directory
from onnxpress.scoring.prefetch import prefetch
from onnxpress.scoring.rows import BadRow, Part, texts_of
from onnxpress.scoring.source import LINE, InputFile, find_files, fingerprint, read_parts
from onnxpress.session import import_onnxruntime

__all__ = ["OnBadRow", "Progress", "ScoreSummary", "score"]

OnBadRow = Literal["error", "null", "skip"]

_PART_ROWS: Final = 4_096
_AHEAD: Final = 2


class ScoreSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a job did.

    Attributes:
        finished: Whether the output is whole; if not, the same call goes on.
        rows: Rows read, in all runs of the job.
        written: Rows in the output.
        bad: Rows that could not be classified.
        labels: How often each label was the best.
        columns: The added columns by their plain names, and what they are called.
        seconds: Of this run.
        scored: Rows scored in this run.
    """

    finished: bool
    rows: int
    written: int
    bad: int
    labels: dict[str, int]
    columns: dict[str, str]
    seconds: float
    scored: int


class Progress(msgspec.Struct, frozen=True):
    """Rows that are committed, and how many there are, where that is known."""

    rows: int
    total: int | None


def score(
    artifact: str | PathLike[str],
    input: str | PathLike[str],
    output: str | PathLike[str],
    *,
    text_column: str = "text",
    pair_column: str | None = None,
    top_k: int = 1,
    probabilities: bool = False,
    on_bad_row: OnBadRow = "error",
    restart: bool = False,
    force: bool = False,
    part_rows: int = _PART_ROWS,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> ScoreSummary:
    """Score the rows of files, every column carried along, and write them with label and score.

    Parts of `part_rows` rows are committed one after the other. Called again after it was interrupted, in whatever way,
    it goes on behind the last, and the output is byte for byte that of an uninterrupted run.

    Args:
        artifact: The artifact's directory.
        input: A file (.csv, .tsv, .jsonl, each also .gz or .zst; .parquet), a directory of them, or a pattern.
        output: The file to write, its format by its name; it appears when it is whole.
        text_column: The column of texts.
        pair_column: The column of second texts, for models of pairs.
        top_k: How many labels with their scores, best first.
        probabilities: Whether to add the score of every label.
        on_bad_row: What a row that cannot be classified does: "error" stops, "null" leaves its added columns empty,
            "skip" leaves it out. The last two name it in OUTPUT.rejected.jsonl.
        restart: Begin again, whatever is done already.
        force: Replace `output`.
        part_rows: Rows that are committed together.
        device: As `load` takes it.
        precision: As `load` takes it.
        threads: As `load` takes them.
        on_progress: Told after each part.
        stop: Asked before each part whether to stop behind what is in hand.

    Raises:
        ArtifactError: The artifact cannot be used.
        BadRowError: A row cannot be classified, with "error".
        ConfigError: A setting, the input, or what another run left does not fit.
        MissingDependencyError: onnxpress[score] is not installed.
        OutputExistsError: `output` is taken.
    """
    begin = monotonic()
    for name, value in (("top_k", top_k), ("part_rows", part_rows)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if on_bad_row not in get_args(OnBadRow):
        raise ConfigError(f"on_bad_row must be {', '.join(get_args(OnBadRow))}, got {on_bad_row!r}")
    import_pyarrow()
    target, form = Path(output), format_of(fspath(output))
    files = find_files(fspath(input))
    if any(file.path.resolve() == target.resolve() for file in files):
        raise ConfigError(f"{target}: is the input too. Choose another output.")
    manifest = open_artifact(Path(artifact)).manifest
    wanted = [text_column] if pair_column is None else [text_column, pair_column]
    with locked(target):
        if target.exists() and not force and not (state_directory(target) / "done").exists():
            if not (state_directory(target) / "journal").exists():  # killed as it cleared the last of it away
                shutil.rmtree(state_directory(target), ignore_errors=True)
            raise OutputExistsError(target)
        if not restart and (found := _finished(target, begin)) is not None:
            return found
        parts = prefetch(read_parts(files, part_rows, wanted), _AHEAD)
        first = next(parts)
        columns = Columns(
            labels=manifest.labels,
            top_k=min(top_k, len(manifest.labels)),
            probabilities=probabilities,
            names=column_names(manifest.labels, min(top_k, len(manifest.labels)), probabilities, _taken(first)),
        )
        with closing(parts), _classifier(artifact, device, precision, threads) as classifier:
            facts = _facts(Path(artifact), files, form, columns, wanted, part_rows, classifier)
            journal = Journal(target, Header(facts=facts), restart=restart)
            try:
                job = _Job(journal, classifier, files, columns, form, on_bad_row, wanted)
                scored, finished = job.run(chain([first], parts), on_progress, stop)
                summary = _summary(journal, columns, begin, scored, finished=finished)
                if finished:
                    assemble(journal, target, form, _names(first, form, columns), msgspec.json.encode(summary))
            finally:
                journal.close()
        return summary


class _Job:
    def __init__(
        self,
        journal: Journal,
        classifier: Classifier,
        files: Sequence[InputFile],
        columns: Columns,
        form: Format,
        on_bad_row: OnBadRow,
        wanted: Sequence[str],
    ) -> None:
        mixed = {"skip" if part.written < part.rows else "null" for part in journal.parts if part.bad} - {on_bad_row}
        if mixed:
            raise ConfigError(
                f"bad rows were met with --on-bad-row {mixed.pop()} so far. Go on with that, or pass --restart."
            )
        self._journal = journal
        self._classifier = classifier
        self._files = files
        self._columns = columns
        self._form = form
        self._on_bad_row = on_bad_row
        self._wanted = wanted

    def run(
        self, parts: Iterator[Part], on_progress: Callable[[Progress], None], stop: Callable[[], bool]
    ) -> tuple[int, bool]:
        """Score and commit what is not done yet, reading, running and writing side by side.

        Returns the rows scored, and whether all are done.
        """
        running: deque[tuple[Part, dict[int, str]]] = deque()
        writing: deque[Future[None]] = deque()
        done, scored, stopped = len(self._journal.parts), 0, False

        def chunks() -> Iterator[list[Any]]:
            nonlocal stopped
            for part in parts:
                if stop():
                    stopped = True
                    return
                if part.number >= done:
                    texts, bad = self._texts(part)
                    running.append((part, bad))
                    yield texts

        with ThreadPoolExecutor(1, "onnxpress-write") as writer:
            for scores in self._classifier.stream_probabilities(chunks()):
                part, bad = running.popleft()
                writing.append(writer.submit(self._commit, part, scores, bad, on_progress))
                scored += len(scores)
                while len(writing) > _AHEAD:
                    writing.popleft().result()
            for future in writing:
                future.result()
        return scored, not stopped

    def _texts(self, part: Part) -> tuple[list[Any], dict[int, str]]:
        def reject(texts: Sequence[Any]) -> Mapping[int, str]:
            return {problem.index: str(problem).split(" ", 2)[2] for problem in self._classifier.rejected(texts)}

        pair = self._wanted[1] if len(self._wanted) > 1 else None
        texts, bad = texts_of(part, self._wanted[0], pair, reject)
        if bad and self._on_bad_row == "error":
            place = min(bad)
            raise BadRowError(self._file(part, place), part.rows[place], bad[place])
        return texts, bad

    def _commit(
        self,
        part: Part,
        scores: NDArray[np.float32],
        bad: Mapping[int, str],
        on_progress: Callable[[Progress], None],
    ) -> None:
        skip = self._on_bad_row == "skip"
        content = part_bytes(part, scores, bad, self._columns, self._form.kind, skip=skip)
        best = Counter(index for place, index in enumerate(scores.argmax(axis=1).tolist()) if place not in bad)
        record = PartRecord(
            number=part.number,
            rows=len(scores),
            written=len(scores) - len(bad) if skip else len(scores),
            bytes=len(content),
            crc=zlib.crc32(content),
            labels=dict(sorted(best.items())),
            bad=[BadRow(self._file(part, place), part.rows[place], bad[place]) for place in sorted(bad)],
        )
        self._journal.commit(record, content)
        on_progress(Progress(sum(done.rows for done in self._journal.parts), None))

    def _file(self, part: Part, place: int) -> str:
        return self._files[part.files[place]].path.name


def _classifier(artifact: str | PathLike[str], device: str, precision: str, threads: int | None) -> Classifier:
    return load(
        artifact, device=device, precision=precision, threads=threads, optimize_for="throughput", spinning=False
    )


def _taken(first: Part) -> list[str]:
    """Names that the added columns must not have."""
    if LINE not in first.table.column_names:
        return list(first.table.column_names)
    lines = [
        msgspec.json.decode(line)
        for place, line in enumerate(first.table.column(LINE).to_pylist())
        if place not in first.broken
    ]
    return list(dict.fromkeys(name for row in lines for name in row))


def _names(first: Part, form: Format, columns: Columns) -> list[str]:
    """The header of a CSV."""
    carried = _taken(first) if LINE in first.table.column_names else list(first.table.column_names)
    return [*carried, *columns.names.values()]


def _facts(
    artifact: Path,
    files: Sequence[InputFile],
    form: Format,
    columns: Columns,
    wanted: Sequence[str],
    part_rows: int,
    classifier: Classifier,
) -> dict[str, str]:
    from onnxpress import __version__

    return {
        "the input": fingerprint(files),
        "the artifact": sha256((artifact / MANIFEST_NAME).read_bytes()).hexdigest(),
        "the output's format": f"{form.kind} {form.compression}",
        "the columns": " ".join([*wanted, *columns.names.values()]),
        "part_rows": str(part_rows),
        "precision": classifier.precision,
        "device": classifier.device,
        "threads": f"{classifier.workers} batches of {classifier.max_tokens} tokens",
        "onnxpress": __version__,
        "onnxruntime": str(import_onnxruntime().__version__),
    }


def _summary(journal: Journal, columns: Columns, begin: float, scored: int, *, finished: bool) -> ScoreSummary:
    counts: Counter[int] = Counter()
    for part in journal.parts:
        counts.update(part.labels)
    return ScoreSummary(
        finished=finished,
        rows=sum(part.rows for part in journal.parts),
        written=sum(part.written for part in journal.parts),
        bad=sum(len(part.bad) for part in journal.parts),
        labels={columns.labels[index]: count for index, count in sorted(counts.items())},
        columns=columns.names,
        seconds=round(monotonic() - begin, 3),
        scored=scored,
    )


def _finished(target: Path, begin: float) -> ScoreSummary | None:
    """The summary of a job that was killed as it renamed its output, which is done now."""
    content = finish_interrupted(target)
    if content is None:
        return None
    found = msgspec.json.decode(content, type=ScoreSummary)
    return msgspec.structs.replace(found, seconds=round(monotonic() - begin, 3), scored=0)
