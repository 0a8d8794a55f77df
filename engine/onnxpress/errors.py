"""Every error that onnxpress raises on purpose.

    OnnxpressError
    ├── ConfigError                 a setting outside its range
    ├── MissingDependencyError      an extra that is not installed
    ├── DeviceUnavailableError      a device asked for by name that cannot run here
    ├── TextError
    │   ├── TextTypeError           neither a string nor a pair of strings
    │   ├── TextEncodingError       a lone surrogate
    │   └── TextTooLongError        more characters than `max_characters`
    ├── ArtifactError
    │   ├── ArtifactNotFoundError   no artifact at that path
    │   ├── ArtifactSchemaError     a manifest this version cannot read
    │   ├── ArtifactIntegrityError  a file that is not the one exported
    │   └── PrecisionUnavailableError
    ├── CheckpointError             a checkpoint that cannot be exported
    ├── OutputExistsError           an output that would be overwritten
    └── CheckFailedError            a measured check that did not hold (exit status 1)

Each carries its facts as attributes, says what is wrong and what to do in one line, and survives pickling.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath

__all__ = [
    "ArtifactError",
    "ArtifactIntegrityError",
    "ArtifactNotFoundError",
    "ArtifactSchemaError",
    "CheckFailedError",
    "CheckpointError",
    "ConfigError",
    "DeviceUnavailableError",
    "MissingDependencyError",
    "OnnxpressError",
    "OutputExistsError",
    "PrecisionUnavailableError",
    "TextEncodingError",
    "TextError",
    "TextTooLongError",
    "TextTypeError",
]


class OnnxpressError(Exception):
    """Base of every error that onnxpress raises on purpose."""


class ConfigError(OnnxpressError, ValueError):
    """A setting has a value outside its range."""


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


class TextTypeError(TextError, TypeError):
    """A text is neither a string nor a pair of strings."""

    def __init__(self, index: int, found: str) -> None:
        super().__init__(index, found)
        self.found = found

    def __str__(self) -> str:
        return f"text {self.index} is {self.found}; pass a str, a pair of str as a tuple, or a list of these."


class TextEncodingError(TextError, ValueError):
    """A text holds a lone surrogate, which no tokenizer can encode."""

    def __init__(self, index: int, position: int, code_point: int) -> None:
        super().__init__(index, position, code_point)
        self.position, self.code_point = position, code_point

    def __str__(self) -> str:
        return (
            f"text {self.index} holds the lone surrogate U+{self.code_point:04X} at character {self.position}. "
            "Repair it, for example with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
        )


class TextTooLongError(TextError, ValueError):
    """A text has more characters than `max_characters`; nothing was tokenized."""

    def __init__(self, index: int, characters: int, limit: int) -> None:
        super().__init__(index, characters, limit)
        self.characters, self.limit = characters, limit

    def __str__(self) -> str:
        return (
            f"text {self.index} has {self.characters:,} characters; the limit is {self.limit:,}. "
            "Shorten it, or raise max_characters."
        )


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

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__(fspath(path))
        self.path = fspath(path)

    def __str__(self) -> str:
        return f"{self.path} exists already. Choose another path, or pass --force to replace it."


class CheckFailedError(OnnxpressError):
    """A measured check did not hold: parity, fusion or fidelity. The command line exits with 1."""
