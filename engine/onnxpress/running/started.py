"""Texts on their way through the classifier, in parts, and where each stands in its call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.errors import TextError
from onnxpress.inputs.texts import Text, Words
from onnxpress.running.cascade import Running

__all__ = ["CHARACTERS_AHEAD", "Part", "Places", "Started", "chunks_of"]

CHARACTERS_AHEAD: Final = 2**22
"""Of texts that are tokenized together, so that long ones do not fill the memory."""


@dataclass(frozen=True, slots=True)
class Part:
    """Checked texts that are tokenized together; `first` is the index of the first of them in their call."""

    texts: Sequence[Text | Words]
    first: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where the different texts of a part stand in their call.

    Attributes:
        first: Where the part begins.
        repeats: The different text that each place of the part holds, intp [places]; None where all differ.
    """

    first: int = 0
    repeats: NDArray[np.intp] | None = None

    @contextmanager
    def told(self) -> Iterator[None]:
        """Have an error of one of the different texts name its first place in the call."""
        try:
            yield
        except TextError as error:
            place = error.index if self.repeats is None else int(np.argmax(self.repeats == error.index))
            raise error.placed(self.first + place) from error.__cause__


@dataclass(frozen=True, slots=True)
class Started:
    """Texts that run, and their places in the call."""

    running: Running
    places: Places

    def result(self) -> Answered:
        """Every place's, once all have run. Raises as `Running.result` does."""
        with self.places.told():
            answered = self.running.answered()
        return answered.placed(self.places.repeats)

    def cancel(self) -> None:
        """Do not run what has not begun."""
        self.running.cancel()


def chunks_of(texts: Iterable[Text], size: int) -> Iterator[list[Text]]:
    """Lists of `size` texts, or fewer where they are long."""
    chunk: list[Text] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        parts: tuple[object, ...] = text if isinstance(text, tuple) else (text,)  # checked later
        characters += sum(len(part) for part in parts if isinstance(part, str))
        if len(chunk) == size or characters >= CHARACTERS_AHEAD:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
