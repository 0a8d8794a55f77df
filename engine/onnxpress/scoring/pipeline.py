"""Reading, classifying and writing at the same time, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from threading import Event, Thread
from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from onnxpress.classifier import Classifier
from onnxpress.encoder import Text
from onnxpress.errors import BadRowError, NoTokensError, TextEncodingError, TextError, TextTooLongError, TextTypeError
from onnxpress.scoring.channel import AbandonedError, Channel
from onnxpress.scoring.journal import PartRecord
from onnxpress.scoring.parts import PartWriter
from onnxpress.scoring.plan import PART_ROWS, Plan
from onnxpress.scoring.rows import Chunk, PartEnd, Position, Problem, Unscored

__all__ = ["all_items", "one_part", "part_starts", "score_items"]

_AHEAD: Final = 2  # chunks that wait between two threads: enough that none starves, few enough to stay small

Item: TypeAlias = "Unscored | PartEnd"
Scored: TypeAlias = "tuple[Unscored, NDArray[np.float32]] | PartEnd"


def all_items(plan: Plan, classifier: Classifier, done: Mapping[int, PartRecord]) -> Iterator[Item]:
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


def one_part(plan: Plan, classifier: Classifier, part: int, start: Position) -> Iterator[Item]:
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
    classifier: Classifier,
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
            _write_parts(plan, scored, on_part, on_rows)
        except BaseException as error:
            failures.append(error)
            scored.abandon()

    reader, writer = Thread(target=_feed, args=(items, read), daemon=True), Thread(target=drain, daemon=True)
    reader.start()
    writer.start()
    try:
        with closing(_classify(classifier, whole_parts())) as answers:
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


def _parts_from(plan: Plan, classifier: Classifier, part: int, start: Position) -> Iterator[Item]:
    """Parts of at least PART_ROWS rows, whole chunks each: their bounds depend on the rows alone.

    An input without rows has one empty part.
    """
    rows, end = 0, start
    for chunk in plan.source.chunks(start):
        yield _checked(plan, classifier, part, chunk)
        rows, end = rows + len(chunk.texts), chunk.end
        if rows >= PART_ROWS:
            yield PartEnd(part, start, end)
            part, start, rows = part + 1, end, 0
    if rows or part == 0:
        yield PartEnd(part, start, end)


def _checked(plan: Plan, classifier: Classifier, part: int, chunk: Chunk) -> Unscored:
    present = [(row, text) for row, text in enumerate(chunk.texts) if text is not None]
    problems = dict(chunk.problems)
    for error in classifier.rejected([text for _, text in present]):
        problems[present[error.index][0]] = Problem(_reason(error))
    if problems and plan.on_bad_row == "error":
        row = min(problems)
        name = plan.source.files[chunk.start.file].name
        raise BadRowError(name, chunk.start.row + row + 1, problems[row].reason)
    kept = [(row, text) for row, text in present if row not in problems]
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


def _classify(classifier: Classifier, items: Iterable[Item]) -> Generator[Scored, None, None]:
    """The items, chunks with their scores. The classifier takes a chunk before it answers the one before."""
    waiting: deque[Item] = deque()

    def texts() -> Iterator[Sequence[Text]]:
        for item in items:
            waiting.append(item)
            if isinstance(item, Unscored):
                yield item.texts

    def ends() -> Iterator[PartEnd]:
        while waiting and isinstance(waiting[0], PartEnd):
            yield cast("PartEnd", waiting.popleft())

    for scores in classifier.stream_probabilities(texts()):
        yield from ends()
        yield cast("Unscored", waiting.popleft()), scores
        yield from ends()
    yield from ends()


def _write_parts(
    plan: Plan,
    items: Channel[Scored],
    on_part: Callable[[PartRecord], None],
    on_rows: Callable[[int, float | None], None],
) -> None:
    writer: PartWriter | None = None
    try:
        for item in items:
            if isinstance(item, PartEnd):
                writer = writer or PartWriter(plan, item.part)
                on_part(writer.commit(item))
                writer = None
            else:
                rows, scores = item
                writer = writer or PartWriter(plan, rows.part)
                writer.write(rows, scores)
                on_rows(len(rows.chunk.texts), rows.chunk.share)
    except BaseException:
        if writer is not None:
            writer.discard()
        raise
