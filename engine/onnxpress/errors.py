"""Every error that onnxpress raises on purpose.

    OnnxpressError
    ├── ConfigError                 a setting outside its range
    │   └── TaskError               what is asked of an artifact of another task
    ├── MissingDependencyError      an extra that is not installed
    ├── DeviceUnavailableError      a device asked for by name that cannot run here
    ├── TextError
    │   ├── TextTypeError           neither a string nor a pair of strings
    │   │   └── WordsTypeError      no list of strings, where a text is split into words
    │   ├── PairError               a pair, where the tokens of one text have labels
    │   ├── TextEncodingError       a lone surrogate
    │   ├── TextTooLongError        more characters than `max_characters`
    │   ├── TooManyTokensError      more tokens than the model takes, where these must not be cut
    │   ├── NoTokensError           nothing that the model could read
    │   └── RunError                a run that failed, or whose logits are not finite
    ├── ArtifactError
    │   ├── ArtifactNotFoundError   no artifact at that path
    │   ├── ArtifactSchemaError     a manifest this version cannot read
    │   ├── ArtifactIntegrityError  a file that is not the one exported
    │   └── PrecisionUnavailableError
    ├── CheckpointError             a checkpoint that cannot be exported
    ├── BadRowError                 a row of a file that cannot be scored
    ├── JobError                    a scoring job that cannot go on
    │   ├── JobChangedError         its input, artifact or options are not those that it began with
    │   ├── JobLockedError          another process works on the same output
    │   └── JobStoppedError         it was asked to stop; the same call continues it
    ├── ClosedError                 a classifier or service that was closed
    ├── ForkedError                 a classifier used in a process forked after it was loaded
    ├── OverloadedError             a service whose queue is full
    ├── DeadlineExceededError       a request that was not answered in time
    ├── OutputExistsError           an output that would be overwritten
    └── CheckFailedError            a measured check that did not hold (exit status 1)

Each carries its facts as attributes, says what is wrong and what to do in one line, and survives pickling.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Self

__all__ = [
    "ArtifactError",
    "ArtifactIntegrityError",
    "ArtifactNotFoundError",
    "ArtifactSchemaError",
    "BadRowError",
    "CheckFailedError",
    "CheckpointError",
    "ClosedError",
    "ConfigError",
    "DeadlineExceededError",
    "DeviceUnavailableError",
    "ForkedError",
    "JobChangedError",
    "JobError",
    "JobLockedError",
    "JobStoppedError",
    "MissingDependencyError",
    "NoTokensError",
    "OnnxpressError",
    "OutputExistsError",
    "OverloadedError",
    "PairError",
    "PrecisionUnavailableError",
    "RunError",
    "TaskError",
    "TextEncodingError",
    "TextError",
    "TextTooLongError",
    "TextTypeError",
    "TooManyTokensError",
    "WordsTypeError",
]


class OnnxpressError(Exception):
    """Base of every error that onnxpress raises on purpose."""


class ConfigError(OnnxpressError, ValueError):
    """A setting has a value outside its range."""


class TaskError(ConfigError, AttributeError):
    """What is asked for is of another task than the artifact's."""

    def __init__(self, asked: str, task: str) -> None:
        super().__init__(asked, task)
        self.asked, self.task = asked, task

    def __str__(self) -> str:
        return f"{self.asked} is for labels of whole texts; this artifact is for {self.task}. Load another for it."


class MissingDependencyError(OnnxpressError, ImportError):
    """A feature needs a package that is not installed.

    Attributes:
        package: The module that could not be imported.
        extras: The extras that bring it.
    """

    def __init__(self, package: str, extras: Sequence[str]) -> None:
        super().__init__(package, tuple(extras))
        self.package, self.extras = package, tuple(extras)

    def __str__(self) -> str:
        choice = " or ".join(f"pip install 'onnxpress[{extra}]'" for extra in self.extras)
        return f"{self.package} is not installed. Run {choice}."


class DeviceUnavailableError(OnnxpressError, RuntimeError):
    """A device that was asked for by name cannot run here.

    Attributes:
        device: What was asked for.
        reason: Why it cannot be had, with the way out.
    """

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(device, reason)
        self.device, self.reason = device, reason

    def __str__(self) -> str:
        return f"device {self.device!r} is not available: {self.reason}"


class TextError(OnnxpressError):
    """A text cannot be classified.

    Attributes:
        index: Its place in the call, from 0.
    """

    def __init__(self, index: int, *args: object) -> None:
        super().__init__(index, *args)
        self.index = index

    @property
    def problem(self) -> str:
        """What is wrong with it, and the way out: the rest of a sentence that begins with the text."""
        return self._problem()

    def moved(self, by: int) -> Self:
        """The same error, of a text `by` places further on."""
        return self.placed(self.index + by)

    def placed(self, index: int) -> Self:
        """The same error, of the text at `index`."""
        return type(self)(index, *self.args[1:])

    def __str__(self) -> str:
        return f"text {self.index} {self.problem}"

    def _problem(self) -> str:
        return "cannot be classified."


class TextTypeError(TextError, TypeError):
    """A text is neither a string nor a pair of strings, or what is passed is no sequence of texts (index 0)."""

    def __init__(self, index: int, found: str) -> None:
        super().__init__(index, found)
        self.found = found

    def _problem(self) -> str:
        return (
            f"is {self.found}. Pass a list, in which a text is a str and a pair a tuple of two str. Where a text may "
            "stand alone, as in clf(text), a pair may be {'text': …, 'text_pair': …} too."
        )


class WordsTypeError(TextTypeError):
    """What is passed for a text that is split into words is no list of strings."""

    def _problem(self) -> str:
        return (
            f"is {self.found}. Pass the words of a text as a list of str, or of several texts as a list of such lists."
        )


class PairError(TextError, TypeError):
    """A text is a pair, where the tokens of one text have labels."""

    def _problem(self) -> str:
        return "is a pair, but it is the tokens of one text that have labels here. Pass its texts one by one."


class TextEncodingError(TextError, ValueError):
    """A text holds a lone surrogate, which no tokenizer can encode."""

    def __init__(self, index: int, position: int, code_point: int) -> None:
        super().__init__(index, position, code_point)
        self.position, self.code_point = position, code_point

    def _problem(self) -> str:
        return (
            f"holds the lone surrogate U+{self.code_point:04X} at character {self.position}. "
            "Repair it, for example with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
        )


class TextTooLongError(TextError, ValueError):
    """A text has more characters than `max_characters`; nothing was tokenized."""

    def __init__(self, index: int, characters: int, limit: int) -> None:
        super().__init__(index, characters, limit)
        self.characters, self.limit = characters, limit

    def _problem(self) -> str:
        return f"has {self.characters:,} characters; the limit is {self.limit:,}. Shorten it, or raise max_characters."


class TooManyTokensError(TextError, ValueError):
    """A text has more tokens than the model takes, and `long_text` does not let them be cut."""

    def __init__(self, index: int, limit: int, way_out: str) -> None:
        super().__init__(index, limit, way_out)
        self.limit, self.way_out = limit, way_out

    def _problem(self) -> str:
        return f"has more than the {self.limit:,} tokens that the model takes. {self.way_out}"


class NoTokensError(TextError, ValueError):
    """A text becomes no tokens, as an empty one does where the tokenizer adds none of its own."""

    def _problem(self) -> str:
        return "becomes no tokens, so there is nothing to classify. Leave it out."


class RunError(TextError, RuntimeError):
    """ONNX Runtime failed, or gave logits that are not finite. Of texts that ran together, `index` is the first.

    Attributes:
        reason: What happened, with the way out.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.reason = reason

    def _problem(self) -> str:
        return f"cannot be answered: {self.reason}"


class BadRowError(OnnxpressError, ValueError):
    """A row of a file cannot be scored.

    Attributes:
        file: The input's file.
        row: Its number in the file, from 1; a header is not counted.
        reason: What is wrong with it.
    """

    def __init__(self, file: str, row: int, reason: str) -> None:
        super().__init__(file, row, reason)
        self.file, self.row, self.reason = file, row, reason

    def __str__(self) -> str:
        return (
            f"{self.file}: row {self.row:,} {self.reason}. Repair it and pass --restart (restart=True), or pass "
            "--on-bad-row null or skip (on_bad_row=), which continues."
        )


class JobError(OnnxpressError):
    """A scoring job cannot go on. What it has committed is kept.

    Attributes:
        output: The output that the job makes.
        reason: What is wrong, with the way out.
    """

    def __init__(self, output: str, reason: str) -> None:
        super().__init__(output, reason)
        self.output, self.reason = output, reason

    def __str__(self) -> str:
        return f"{self.output}: {self.reason}"


class JobChangedError(JobError):
    """The input, the artifact or the options of a job are not those that it began with."""


class JobLockedError(JobError):
    """Another process works on the same output."""


class JobStoppedError(JobError):
    """A job was asked to stop, and did so at the end of a part.

    Attributes:
        rows: How many are committed.
    """

    def __init__(self, output: str, rows: int) -> None:
        super().__init__(output, f"stopped with {rows:,} rows committed. The same call continues (without restart).")
        self.args = (output, rows)  # from which it is unpickled
        self.rows = rows


class ClosedError(OnnxpressError, RuntimeError):
    """A classifier or a service was closed."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"this {self.what} is closed. Make another."


class ForkedError(OnnxpressError, RuntimeError):
    """A classifier is used in a process that was forked after it was loaded: its threads are not there."""

    def __init__(self, loaded_in: int, used_in: int) -> None:
        super().__init__(loaded_in, used_in)
        self.loaded_in, self.used_in = loaded_in, used_in

    def __str__(self) -> str:
        return (
            f"this classifier was loaded in process {self.loaded_in}, and process {self.used_in} was forked from it. "
            "Load it after the fork, or pass it to processes that are spawned."
        )


class OverloadedError(OnnxpressError, RuntimeError):
    """A service's queue is full.

    Attributes:
        what: What there is too much of: "requests", "tokens", or "callers" that wait for room.
        waiting: How much waits, this request included.
        limit: How much may.
    """

    def __init__(self, what: str, waiting: int, limit: int) -> None:
        super().__init__(what, waiting, limit)
        self.what, self.waiting, self.limit = what, waiting, limit

    def __str__(self) -> str:
        other = "" if self.what == "callers" else ", pass when_full='wait'"
        return (
            f"{self.waiting:,} {self.what} would wait; the limit is {self.limit:,}. "
            f"Try again later{other}, or raise max_{self.what}."
        )


class DeadlineExceededError(OnnxpressError, TimeoutError):
    """A request was not answered in time.

    Attributes:
        seconds: The time that it had.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"no answer within {self.seconds:g} s. Raise the timeout, or send less."


class ArtifactError(OnnxpressError):
    """An artifact cannot be used.

    Attributes:
        path: The artifact's directory, or the file in question.
        reason: What is wrong with it.
    """

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(fspath(path), reason)
        self.path, self.reason = fspath(path), reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ArtifactNotFoundError(ArtifactError, FileNotFoundError):
    """There is no artifact at that path."""


class ArtifactSchemaError(ArtifactError, ValueError):
    """The manifest is not one that this version can read."""


class ArtifactIntegrityError(ArtifactError, ValueError):
    """A file is missing, changed, or not inside the artifact."""


class PrecisionUnavailableError(ArtifactError, ValueError):
    """The artifact holds no variant of the precision asked for."""


class CheckpointError(OnnxpressError, ValueError):
    """A checkpoint cannot be exported.

    Attributes:
        source: The directory or Hub id.
        reason: Why not, with the way out.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)
        self.source, self.reason = source, reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class OutputExistsError(OnnxpressError, FileExistsError):
    """The output path is taken, and replacing it was not asked for."""

    def __init__(self, path: str | PathLike[str], option: str = "--force") -> None:
        super().__init__(fspath(path), option)
        self.path, self.option = fspath(path), option

    def __str__(self) -> str:
        return f"{self.path} exists already. Choose another path, or pass {self.option} to replace it."


class CheckFailedError(OnnxpressError):
    """A measured check did not hold: parity, fusion or fidelity. The command line exits with 1."""
