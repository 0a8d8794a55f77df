"""The texts that a benchmark runs on."""

from __future__ import annotations

from pathlib import Path

import msgspec

from onnxpress.errors import ConfigError

__all__ = ["read_texts"]


class _Row(msgspec.Struct):
    text: str


def read_texts(path: Path) -> list[str]:
    """The texts in `path`, in order: `text` of each object of a .jsonl file, else each line of UTF-8 text.

    Raises:
        ConfigError: The file is missing, holds no text, or a line that cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Pass a text file, or a .jsonl file with a field `text`.")
    texts = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    texts.append(_parse(line, is_json=path.suffix == ".jsonl"))
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise ConfigError(f"{path}:{number}: {error}. Each line must be one text.") from error
    if not texts:
        raise ConfigError(f"{path}: holds no text.")
    return texts


def _parse(line: bytes, *, is_json: bool) -> str:
    return msgspec.json.decode(line, type=_Row).text if is_json else line.decode("utf-8").rstrip("\r\n")
