"""Reading, classifying and writing at the same time, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from threading import Event, Thread
from typing import Final, TypeAlias, cast

from onnxpress.answers.answered import Answered
from onnxpress.errors import BadRowError, NoTokensError, TextEncodingError, TextError, TextTooLongError, TextTypeError
from onnxpress.inputs.encoder import Text
from onnxpress.model import Model
from onnxpress.scoring.channel import AbandonedError, Channel
from onnxpress.scoring.journal import PartRecord
from onnxpress.scoring.parts import PartWriter
from onnxpress.scoring.plain_tsv import unwritable_rows
from onnxpress.scoring.plan import PART_ROWS, Plan
from onnxpress.scoring.rows import Chunk, PartEnd, Position, Problem, Unscored
from onnxpress.watching.counts import Counts
from onnxpress.watching.observe import observer_of

__all__ = ["all_items", "one_part", "part_starts", "score_items"]

_AHEAD: Final = 2  # chunks that wait between two threads: enough that none starves, few enough to stay small

Item: TypeAlias = "Unscored | PartEnd"
Scored: TypeAlias = "tuple[Unscored, Sequence[Answered], Counts] | PartEnd"


def all_items(plan: Plan, classifier: Model, done: Mapping[int, PartRecord]) -> Iterator[Item]:
    """Every part that is not `done`, chunk by chunk, in order."""
    part, start = 0, Position()
    while True:
        while part in done:
            part, start = part + 1, done[part].end
        for item in _parts_from(plan, classifier, part, start):
            yield item
            if isinstance(item, PartEnd):
                part, start = item.part + 1, item.end
                if part in done:
                    break
        else:
            return


def one_part(plan: Plan, classifier: Model, part: int, start: Position) -> Iterator[Item]:
    """The part with the index `part`, which begins at `start`."""
    for item in _parts_from(plan, classifier, part, start):
        yield item
        if isinstance(item, PartEnd):
            return


def part_starts(plan: Plan, done: Container[int]) -> list[tuple[int, Position]]:
    """Index and start of every part that is not `done`; reads the input's rows, of Parquet only the footers."""
    starts: list[tuple[int, Position]] = []
    part, rows = 0, PART_ROWS
    for start, end in plan.source.spans(Position()):
        if rows >= PART_ROWS:
            if part not in done:
                starts.append((part, start))
            part, rows = part + 1, 0
        rows += end.row - start.row
    return starts if part or 0 in done else [(0, Position())]


def score_items(
    plan: Plan,
    classifier: Model,
    items: Iterator[Item],
    *,
    on_part: Callable[[PartRecord], None],
    on_rows: Callable[[int, float | None], None] = lambda rows, share: None,
    stop: Event | None = None,
) -> bool:
    """Score `items` and write their parts.

    A thread reads ahead, another one writes behind; what fails in either is raised here, once both have ended.

    Args:
        plan: How.
        classifier: What `open_classifier` gave for it.
        items: Whole parts.
        on_part: Called by the writing thread for each part on the disk, in order.
        on_rows: Called by it after each chunk, with the rows of the chunk and the share of the input that is read.
        stop: Once set, no other part is begun.

    Returns:
        Whether all items were scored, which `stop` alone prevents.
    """
    read, scored = Channel[Item](_AHEAD), Channel[Scored](_AHEAD)
    failures: list[BaseException] = []
    is_complete = True

    def whole_parts() -> Iterator[Item]:
        """What is read, to the end of the part in hand once `stop` is set."""
        nonlocal is_complete
        part = -1
        for item in read:
            if isinstance(item, Unscored) and item.part != part:
                if stop is not None and stop.is_set():
                    is_complete = False
                    return
                part = item.part
            yield item

    def drain() -> None:
        try:
            _write_parts(plan, classifier, scored, on_part, on_rows)
        except BaseException as error:
            failures.append(error)
            scored.abandon()

    reader, writer = Thread(target=_feed, args=(items, read), daemon=True), Thread(target=drain, daemon=True)
    reader.start()
    writer.start()
    try:
        with closing(_classify(plan, classifier, whole_parts())) as answers:
            for answer in answers:
                scored.put(answer)
        scored.close()
    except AbandonedError:  # `failures` holds why
        pass
    except BaseException as error:
        scored.close(error)
        failures.insert(0, error)
    read.abandon()
    writer.join()
    reader.join()
    if failures:
        raise failures[0]
    return is_complete


def _parts_from(plan: Plan, classifier: Model, part: int, start: Position) -> Iterator[Item]:
    """Parts of at least PART_ROWS rows, whole cells of chunks each: their bounds depend on the rows alone.

    An input without rows has one empty part.
    """
    rows, end = 0, start
    for chunk in plan.source.chunks(start):
        yield _checked(plan, classifier, part, chunk)
        rows, end = rows + len(chunk.texts), chunk.end
        if rows >= PART_ROWS and chunk.ends_cell:
            yield PartEnd(part, start, end)
            part, start, rows = part + 1, end, 0
    if rows or part == 0:
        yield PartEnd(part, start, end)


def _checked(plan: Plan, classifier: Model, part: int, chunk: Chunk) -> Unscored:
    present = [(row, text) for row, text in enumerate(chunk.texts) if text is not None]
    problems = dict(chunk.problems)
    for error in classifier.rejected([text for _, text in present]):
        problems.setdefault(present[error.index][0], Problem(_reason(error)))
    if plan.format == "tsv" and not plan.source.quoted_tsv:
        for row, name in unwritable_rows(chunk.carried):
            problems.setdefault(
                row, Problem(f"has a tab or a line break in {name!r}, for which TSV needs --quoted-tsv")
            )
    return _kept(plan, part, chunk, problems)


def _kept(plan: Plan, part: int, chunk: Chunk, problems: dict[int, Problem]) -> Unscored:
    """The chunk with the rows that have no problem; with on_bad_row="error" there must be none."""
    if problems and plan.on_bad_row == "error":
        row = min(problems)
        name = plan.source.files[chunk.start.file].name
        raise BadRowError(name, chunk.start.row + row + 1, problems[row].reason)
    kept = [(row, text) for row, text in enumerate(chunk.texts) if text is not None and row not in problems]
    return Unscored(part, chunk, [row for row, _ in kept], [text for _, text in kept], problems)


def _reason(error: TextError) -> str:
    if isinstance(error, TextTooLongError):
        return f"has {error.characters:,} characters; the limit is {error.limit:,} (--max-characters)"
    if isinstance(error, TextEncodingError):
        return f"holds the lone surrogate U+{error.code_point:04X} at character {error.position}"
    if isinstance(error, TextTypeError):
        return f"holds no text but what is {error.found}"
    if isinstance(error, NoTokensError):
        return "becomes no tokens"
    return error.problem


def _feed(items: Iterable[Item], read: Channel[Item]) -> None:
    try:
        for item in items:
            read.put(item)
        read.close()
    except AbandonedError:
        pass
    except BaseException as error:
        read.close(error)


def _classify(plan: Plan, classifier: Model, items: Iterable[Item]) -> Generator[Scored, None, None]:
    """The items, chunks with their answers and counts. The classifier takes a chunk before it answers the one before.

    A text that proves bad once it is tokenized makes its row bad; its chunk and those begun behind it are run again.
    """
    remaining = iter(items)
    waiting: deque[Item] = deque()
    again: deque[Item] = deque()
    observer = observer_of(classifier)

    def texts() -> Iterator[Sequence[Text]]:
        while (item := again.popleft() if again else next(remaining, None)) is not None:
            waiting.append(item)
            if isinstance(item, Unscored):
                yield item.texts

    def ends() -> Iterator[PartEnd]:
        while waiting and isinstance(waiting[0], PartEnd):
            yield cast("PartEnd", waiting.popleft())

    while True:
        try:
            for answered in classifier.stream_answered(texts()):
                yield from ends()
                yield cast("Unscored", waiting.popleft()), answered, observer.counts(answered)
                yield from ends()
        except TextError as error:
            if isinstance(error, RuntimeError):  # of a run, whatever its texts are
                raise
            yield from ends()
            first = _without_bad(plan, classifier, cast("Unscored", waiting.popleft()), error)
            again.extendleft(reversed([first, *waiting]))
            waiting.clear()
        else:
            yield from ends()
            return


def _without_bad(plan: Plan, classifier: Model, rows: Unscored, error: TextError) -> Unscored:
    """The chunk without the text that `error` tells of, and without all others of which tokenizing tells the same."""
    found = _untokenizable(classifier, rows.texts, 0) | {error.index: error}
    problems = {rows.kept[index]: Problem(_reason(bad)) for index, bad in found.items()}
    return _kept(plan, rows.part, rows.chunk, rows.problems | problems)


def _untokenizable(classifier: Model, texts: Sequence[Text], before: int) -> dict[int, TextError]:
    """Why each of `texts` that cannot be tokenized cannot, by its index behind `before`: found by halving."""
    try:
        classifier.encode(texts)
    except TextError as error:
        if len(texts) == 1:
            return {before: error}
        half = len(texts) // 2
        left = _untokenizable(classifier, texts[:half], before)
        return left | _untokenizable(classifier, texts[half:], before + half)
    return {}


def _write_parts(
    plan: Plan,
    classifier: Model,
    items: Channel[Scored],
    on_part: Callable[[PartRecord], None],
    on_rows: Callable[[int, float | None], None],
) -> None:
    writer: PartWriter | None = None
    try:
        for item in items:
            if isinstance(item, PartEnd):
                writer = writer or PartWriter(plan, classifier, item.part)
                on_part(writer.commit(item))
                writer = None
            else:
                rows, answered, seen = item
                writer = writer or PartWriter(plan, classifier, rows.part)
                writer.write(rows, answered, seen)
                on_rows(len(rows.chunk.texts), rows.chunk.share)
    except BaseException:
        if writer is not None:
            writer.discard()
        raise
