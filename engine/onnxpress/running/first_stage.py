"""A first stage that answers the easy texts: what lies in its file, and how it runs.

It is a bag of a text's token ids and of their pairs: each is looked up in a table, the mean of what is found there is
multiplied by a small matrix, and the logits are there: some microseconds of NumPy, where the model takes hundreds. The
export teaches it by the model's own answers, and finds the margin from which it may be believed.

All sums are of whole numbers that a float64 holds exactly: tables of 8 bits, a mean of 20, weights of 16. So no sum
depends on its order, and no bit of an answer on what runs beside the text, on the BLAS library, or on the machine.

The file holds arrays in NumPy's own format, one after the other, and nothing that could be run (`FORMAT`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.inputs.encoder import TokenRows
from onnxpress.running.planner import Bucket

__all__ = ["FORMAT", "MOST_BYTES", "FirstStage", "Tables", "features_of", "most_rows", "read_tables", "write_tables"]

MOST_BYTES: Final = 16 * 2**20

FORMAT: Final = (
    ("tokens", np.dtype("<i1"), 2),
    ("pairs", np.dtype("<i1"), 2),
    ("weights", np.dtype("<i2"), 2),
    ("scales", np.dtype("<f4"), 1),
    ("bias", np.dtype("<f4"), 1),
)
"""Name, type and dimensions of each array of the file, in its order."""

_MOST_WIDE: Final = 256
"""Columns of a table: 2 ** 19 of a mean times 2 ** 15 of a weight times these stay far below 2 ** 53."""
_FRACTION: Final = 2**12
_HEADERS: Final = 4_096
"""Bytes that are left for the headers of the file's arrays."""
_BATCH_TOKENS: Final = 8_192
_PRODUCT: Final = 2**18
"""Multiplications of one product: a larger one is spread over BLAS's own threads, which `load` never asked for."""
_MIX: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
_HIGH: Final = np.uint64(33)
_NO_TOKEN: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What a first stage knows; checked when made.

    Attributes:
        tokens: A row for each token id, by its rest where there are fewer, int8 [rows, width].
        pairs: A row for each hash of a token and the next, int8 [rows, width].
        weights: Means to logits, int16 [width, labels].
        scales: What a mean's product with the weights is multiplied by, float32 [labels].
        bias: What is added then, float32 [labels].
    """

    tokens: NDArray[np.int8]
    pairs: NDArray[np.int8]
    weights: NDArray[np.int16]
    scales: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, kind, dimensions in FORMAT:
            array = getattr(self, name)
            if array.dtype != kind or array.ndim != dimensions or not array.size:
                raise ValueError(f"{name} must be {kind} of {dimensions} dimensions, got {array.dtype} {array.shape}")
        width, labels = self.weights.shape
        wide = (self.tokens.shape[1], self.pairs.shape[1])
        if wide != (width, width) or width > _MOST_WIDE:
            raise ValueError(f"tables of {wide} columns do not fit weights of {self.weights.shape}")
        for name, numbers in (("scales", self.scales), ("bias", self.bias)):
            if numbers.shape != (labels,) or not np.isfinite(numbers).all():
                raise ValueError(f"{name} must be {labels} finite numbers")


def most_rows(*, width: int, labels: int) -> int:
    """Rows that both tables together may have, so that they fit into a file beside weights of so many labels."""
    rest = labels * (FORMAT[2][1].itemsize * width + FORMAT[3][1].itemsize + FORMAT[4][1].itemsize)
    return (MOST_BYTES - _HEADERS - rest) // width


def write_tables(tables: Tables) -> bytes:
    """The content of the file.

    Raises:
        ValueError: It is larger than MOST_BYTES.
    """
    content = BytesIO()
    for field in fields(tables):
        np.lib.format.write_array(content, getattr(tables, field.name), version=(1, 0), allow_pickle=False)
    if content.tell() > MOST_BYTES:
        raise ValueError(f"a first stage of {content.tell():,} bytes; at most {MOST_BYTES:,} are read")
    return content.getvalue()


def read_tables(content: bytes, *, labels: int) -> Tables:
    """What `write_tables` wrote, for a model of `labels` labels.

    Raises:
        ValueError: It is no such file: malformed, too large, too long or too short, or not of finite numbers.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"{len(content):,} bytes, more than {MOST_BYTES:,}")
    stream = BytesIO(content)
    arrays: dict[str, NDArray[Any]] = {name: _read_array(stream, content, kind) for name, kind, _ in FORMAT}
    if stream.tell() != len(content):
        raise ValueError(f"{len(content) - stream.tell():,} bytes are left after its arrays")
    tables = Tables(**arrays)
    if len(tables.bias) != labels:
        raise ValueError(f"it answers with {len(tables.bias)} labels, the model with {labels}")
    return tables


def features_of(
    ids: NDArray[np.int32], lengths: NDArray[np.int64], *, tokens: int, pairs: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the two tables for each token of texts one after the other, each int64 [len(ids)].

    A token's pair is the one with the next of its text; the last has one of its own.

    Args:
        ids: Token ids of all texts.
        lengths: How many each text has, at least 1.
        tokens: Rows of the tokens' table.
        pairs: Rows of the pairs' table.
    """
    following = np.full(len(ids), _NO_TOKEN, dtype=np.int64)
    following[:-1] = ids[1:]
    following[np.cumsum(lengths) - 1] = _NO_TOKEN
    mixed = (ids.astype(np.uint64) * _MIX[0]) ^ ((following + 1).astype(np.uint64) * _MIX[1])
    mixed = (mixed ^ (mixed >> _HIGH)) * _MIX[0]
    return ids.astype(np.int64) % tokens, ((mixed >> _HIGH) % np.uint64(pairs)).astype(np.int64)


class FirstStage:
    """Runs tables over tokenized texts. Several threads may run at once."""

    def __init__(self, tables: Tables) -> None:
        """Make one of `tables`."""
        self.tables = tables
        self._table = np.concatenate([tables.tokens, tables.pairs])
        self._weights = tables.weights.astype(np.float64)
        self._rows = max(1, _PRODUCT // tables.weights.size)

    def plan(self, lengths: NDArray[np.int64], workers: int) -> list[Bucket]:
        """Batches to `run`, in order: of some thousand tokens, or of one longer text."""
        ends = np.cumsum(lengths)
        buckets, start = [], 0
        while start < len(lengths):
            before = int(ends[start - 1]) if start else 0
            end = max(start + 1, int(np.searchsorted(ends, before + _BATCH_TOKENS, side="right")))
            buckets.append(Bucket(np.arange(start, end), end - start, int(lengths[start:end].max())))
            start = end
        return buckets

    def run(self, rows: TokenRows, bucket: Bucket) -> NDArray[np.float32]:
        """Logits, float32 [rows of the bucket, labels]."""
        return self.logits([rows.encodings[int(row)].ids for row in bucket.rows])

    def logits(self, texts: list[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Logits of the token ids of texts, none of them empty, float32 [texts, labels]."""
        tables = self.tables
        lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
        tokens, pairs = features_of(np.concatenate(texts), lengths, tokens=len(tables.tokens), pairs=len(tables.pairs))
        both = np.stack([tokens, pairs + len(tables.tokens)], axis=1).ravel()
        sums = np.add.reduceat(self._table[both], 2 * (np.cumsum(lengths) - lengths), axis=0, dtype=np.int32)
        means = np.rint(sums * np.float64(_FRACTION) / (2.0 * lengths)[:, None])
        whole = np.concatenate([means[at : at + self._rows] @ self._weights for at in range(0, len(means), self._rows)])
        logits: NDArray[np.float32] = (whole * (tables.scales / np.float64(_FRACTION)) + tables.bias).astype(np.float32)
        return logits

    def close(self) -> None:
        """Nothing: it holds no session."""


def _read_array(stream: BytesIO, content: bytes, kind: np.dtype[np.generic]) -> NDArray[np.generic]:
    """The next array of `stream`, whose header may ask for no more than what is there."""
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("not of version 1.0 of NumPy's format")
        shape, by_column, found = np.lib.format.read_array_header_1_0(stream)
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:  # a header is read as a Python literal
        raise ValueError(f"not an array of NumPy's format ({error})") from error
    if found != kind or by_column:
        raise ValueError(f"an array of {found} where one of {kind} must be")
    count = 1
    for extent in shape:
        count *= extent
    start, size = stream.tell(), count * kind.itemsize
    if any(extent < 0 for extent in shape) or size > len(content) - start:
        raise ValueError(f"an array of shape {shape} in {len(content) - start:,} bytes")
    stream.seek(size, 1)
    return np.frombuffer(content, dtype=kind, count=count, offset=start).reshape(shape)
