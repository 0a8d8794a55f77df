"""Film-review sentences with two labels, split once and for all."""

from __future__ import annotations

import io
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from onnxpress_bench.demo.sources import SourceError

__all__ = ["LABELS", "Corpus", "Example", "read_corpus"]

LABELS: Final = ("negative", "positive")

_ARCHIVE: Final = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_MEMBER: Final = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
_HELD_OUT_SHARE: Final = 0.15
_SEED: Final = 2_014


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence and its label, an index into LABELS."""

    text: str
    label: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """Examples to train on, and held-out ones that training never sees; no text is in both."""

    training: tuple[Example, ...]
    held_out: tuple[Example, ...]


def read_corpus(package: Path) -> Corpus:
    """Read the reviews from the source distribution at `package`, without unpacking it.

    A sentence whose mean rating, from -4 to 4, is above 0 is positive. Repeated sentences are kept once.
    """
    with tarfile.open(package) as outer, tarfile.open(fileobj=_member(outer, _ARCHIVE)) as inner:
        lines = io.TextIOWrapper(_member(inner, _MEMBER), encoding="utf-8").read().splitlines()
    rated = (line.split("\t", 2) for line in lines if line)
    examples = {text: Example(text, int(float(rating) > 0)) for _, rating, text in rated}
    shuffled = list(examples.values())
    random.Random(_SEED).shuffle(shuffled)
    held_out = int(len(shuffled) * _HELD_OUT_SHARE)
    return Corpus(training=tuple(shuffled[held_out:]), held_out=tuple(shuffled[:held_out]))


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise SourceError(name, "is not a file in its archive.")
    return file
