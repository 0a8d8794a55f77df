"""Texts longer than the model: cut, in windows, or refused, and told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress.answers.predictions import pool_windows
from tests.conftest import MAX_LENGTH, WORDS

ATOL = 2e-5  # fp32 sums in another order over two layers, logits of order 1

LONG = " ".join(np.random.default_rng(4).choice(WORDS, 3 * MAX_LENGTH))
SHORT = "a fine film"


def windows(stride: int) -> list[str]:
    """LONG as texts of a window each: a word is a token, and two of the tokens are special."""
    words, room = LONG.split(), MAX_LENGTH - 2
    starts = range(0, len(words) - stride, room - stride)
    return [" ".join(words[start : start + room]) for start in starts]


@pytest.mark.parametrize("stride", [1, 40])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_windows_are_pooled(
    artifact: Path, torch_logits: Callable[[Sequence[object]], NDArray[np.float32]], pooling: str, stride: int
) -> None:
    with onnxpress.load(artifact, long_text="windows", stride=stride, pooling=pooling) as classifier:  # type: ignore[arg-type]
        found = classifier.logits([SHORT, LONG, "two dull hours"])
    parts = torch_logits(windows(stride))
    assert len(parts) > 2 and np.ptp(parts, axis=0).min() > 100 * ATOL, "equal windows would prove nothing"
    pooled = parts.mean(0) if pooling == "mean" else parts.max(0)
    short = torch_logits([SHORT, "two dull hours"])
    np.testing.assert_allclose(found, [short[0], pooled, short[1]], rtol=0, atol=ATOL)


def test_a_quarter_of_a_window_is_repeated_unless_said_otherwise(artifact: Path) -> None:
    with (
        onnxpress.load(artifact, long_text="windows") as implied,
        onnxpress.load(artifact, long_text="windows", stride=(MAX_LENGTH - 2) // 4) as said,
    ):
        assert np.array_equal(implied.logits([LONG]), said.logits([LONG]))


def test_cut_by_default_and_told_on_request(artifact: Path) -> None:
    with onnxpress.load(artifact) as classifier:
        assert classifier.count_tokens([SHORT, LONG, (SHORT, LONG)]).tolist() == [5, 422, 426]
        np.testing.assert_allclose(classifier.logits([LONG]), classifier.logits([windows(1)[0]]), atol=ATOL)


def test_refused_when_asked_to(artifact: Path) -> None:
    with onnxpress.load(artifact, long_text="error") as classifier:
        assert classifier(SHORT).label
        with pytest.raises(onnxpress.TooManyTokensError, match=r"text 1 has more than the 140 tokens.*'windows'"):
            classifier([SHORT, LONG])


def test_a_long_pair_has_no_windows(artifact: Path) -> None:
    with onnxpress.load(artifact, long_text="windows") as classifier:
        assert classifier((SHORT, SHORT)).label
        with pytest.raises(onnxpress.TooManyTokensError, match=r"text 0 .* A pair has no windows"):
            classifier([(SHORT, LONG)])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"long_text": "cut"}, "long_text must be truncate or windows or error, got 'cut'"),
        ({"pooling": "sum"}, "pooling must be mean or max, got 'sum'"),
        ({"long_text": "windows", "stride": 138}, "stride must be below the 138 tokens .* got 138"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
    ],
)
def test_settings_that_cannot_be(artifact: Path, settings: dict[str, object], says: str) -> None:
    with pytest.raises(onnxpress.ConfigError, match=says):
        onnxpress.load(artifact, **settings)  # type: ignore[arg-type]


# A cut text of 100,000 characters has 240 windows that nobody wants: 2.8 MiB, were they kept. Prints MiB.
MEMORY = """
import resource, sys
import onnxpress
texts = [f"{number} " + "good " * 19_990 for number in range(40)]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
with onnxpress.load(sys.argv[1], threads=1, long_text=sys.argv[2]) as classifier:
    classifier.logits(texts[:1])
    before = peak()
    getattr(classifier, sys.argv[3])(texts)
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="KiB are Linux's")
@pytest.mark.parametrize(
    ("long_text", "method"), [("truncate", "encode"), ("truncate", "count_tokens"), ("windows", "encode")]
)
def test_of_a_long_text_only_ids_are_kept(artifact: Path, long_text: str, method: str) -> None:
    command = [sys.executable, "-c", MEMORY, str(artifact), long_text, method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    ids = 40 * 19_990 * 4 * 1.4 / 2**20  # in windows: int32, a quarter of them twice
    assert float(done.stdout) < (30 if long_text == "truncate" else 30 + ids)


def test_pooling() -> None:
    logits = np.array([[1, 5], [3, 1], [7, 7]], dtype=np.float32)
    assert pool_windows(logits, np.array([0, 2]), "mean").tolist() == [[2, 3], [7, 7]]
    assert pool_windows(logits, np.array([0, 2]), "max").tolist() == [[3, 5], [7, 7]]
