from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer

from onnxpress.errors import TextEncodingError, TextTooLongError, TextTypeError
from onnxpress.inputs.encoder import Encoder, Text
from tests.conftest import make_tokenizer


def leaky_tokenizer() -> Tokenizer:
    """A tokenizer whose file asks for padding to 64 and truncation to 4, as some checkpoints' do."""
    tokenizer = make_tokenizer().backend_tokenizer
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(4)
    return Tokenizer.from_str(tokenizer.to_str())


def encoder(**changes: object) -> Encoder:
    settings = {"max_length": 12, "truncation_side": "right", "max_characters": 1_000, **changes}
    return Encoder(leaky_tokenizer(), **settings)  # type: ignore[arg-type]


def tokens(tokenizing: Encoder, text: Text) -> list[str]:
    return [leaky_tokenizer().id_to_token(token) for token in tokenizing.encode([text]).encodings[0].ids]


def test_padding_and_truncation_of_the_file_do_not_leak() -> None:
    rows = encoder().encode(["good film", "a b c d e f g h"])
    assert rows.lengths.tolist() == [4, 10]


def test_truncation_keeps_special_tokens_and_the_side_asked_for() -> None:
    kept = {side: tokens(encoder(truncation_side=side, max_length=4), "a b c d e") for side in ("left", "right")}
    assert kept == {"right": ["[CLS]", "a", "b", "[SEP]"], "left": ["[CLS]", "d", "e", "[SEP]"]}


def test_the_longer_text_of_a_pair_is_cut() -> None:
    pair, short = ("a b c d e f", "g"), encoder(max_length=7)
    assert tokens(short, pair) == ["[CLS]", "a", "b", "c", "[SEP]", "g", "[SEP]"]
    assert short.encode([pair]).encodings[0].column("token_type_ids").tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_inputs_are_int64_by_name_for_the_rows_asked_for() -> None:
    rows = encoder().encode(["good film", "bad", "poor plot"])
    inputs = rows.inputs(np.array([2, 0]), ["input_ids", "attention_mask"])
    assert list(inputs) == ["input_ids", "attention_mask"]
    assert all(array.dtype == np.int64 and array.shape == (2, 4) for array in inputs.values())
    assert inputs["input_ids"][1].tolist() == rows.encodings[0].ids.tolist()


@pytest.mark.parametrize("text", ["", " ", "\0", "\n\t", "é" * 50, "👍🏽" * 20, "\ufffd", "\u202e", "日本語"])
def test_any_valid_text_is_tokenized(text: str) -> None:
    assert 2 <= encoder().encode([text]).lengths[0] <= 12


def test_every_text_that_cannot_be_tokenized_is_told_with_its_place() -> None:
    found = list(encoder().rejected(["good", 7, "é" * 1_001, ("a", "b"), "a\ud800", ("a", None)]))  # type: ignore[list-item]
    assert [(problem.index, type(problem)) for problem in found] == [
        (1, TextTypeError),
        (2, TextTooLongError),
        (4, TextEncodingError),
        (5, TextTypeError),
    ]
