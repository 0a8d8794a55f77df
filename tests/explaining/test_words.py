"""Words stand where the caller's own string has them, whatever the tokenizer does to it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from onnxpress.explaining.mask import mask_of
from onnxpress.explaining.words import words_of
from onnxpress.inputs.texts import Text
from tests.conftest import make_tokenizer

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
THUMB = "\U0001f44d\U0001f3fd"
FLAGS = "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7"


def word_pieces() -> Tokenizer:
    return make_tokenizer().backend_tokenizer


def plain_bytes() -> Tokenizer:
    """Every byte a token: characters beyond ASCII are several, and a space belongs to the word after it."""
    vocabulary = {token: index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentence_pieces() -> Tokenizer:
    """Pieces that may hold several characters, as SentencePiece makes them; spaces become a letter of their own."""
    pieces = ["<unk>", "▁", "▁a", "▁good", "film", "这部", "电影", "很好", "s", "!", "."]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(index)) for index, piece in enumerate(pieces)], unk_id=0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def seen(tokenizer: Tokenizer, text: Text) -> list[str]:
    """The words that are found; proves that each is its place in the text, in order, and made of tokens."""
    encoding = tokenizer.encode(*((text,) if isinstance(text, str) else text))
    words, (owners,) = words_of(text, [encoding])
    parts = (text,) if isinstance(text, str) else text
    assert words == sorted(words)
    assert all(a.part < b.part or a.end <= b.start for a, b in pairwise(words))
    assert set(owners.tolist()) - {-1} == set(range(len(words)))
    assert [owner == -1 for owner in owners] == [part is None for part in encoding.sequence_ids] or not words
    for owner, (start, end) in zip(owners.tolist(), encoding.offsets, strict=True):
        if owner >= 0 and parts[words[owner].part][start:end].strip():
            assert words[owner].start <= end and start <= words[owner].end
    return [parts[word.part][word.start : word.end] for word in words]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a good film", ["a", "good", "film"]),
        ("  goodish\tfilm\r\nend\n", ["goodish", "film", "end"]),
        ("isn't good, but", ["isn't", "good", ",", "but"]),
        ("'good'", ["'", "good", "'"]),
        ("这部 film 很好!", ["这", "部", "film", "很", "好", "!"]),
        ("ＧＯＯＤ", ["ＧＯＯＤ"]),
        ("cafe\u0301 na\u0131\u0308ve", ["cafe\u0301", "na\u0131\u0308ve"]),
        (f"good {FAMILY} film", ["good", FAMILY, "film"]),
        ("", []),
        (" \r\n", []),
        ("bad", ["bad"]),
        (("good film", "bad"), ["good", "film", "bad"]),
        (("", "bad"), ["bad"]),
        (("good", ""), ["good"]),
    ],
)
def test_of_word_pieces(text: Text, words: list[str]) -> None:
    assert seen(word_pieces(), text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a good film\r\n\r\nend", ["a", "good", "film", "end"]),
        ("isn't it, no", ["isn't", "it", ",", "no"]),
        ("这部很好", ["这", "部", "很", "好"]),
        ("ดีมาก", ["ดี", "ม", "า", "ก"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("좋은 영화", ["좋은", "영화"]),
        ("cafe\u0301!", ["cafe\u0301", "!"]),
        (f"so{FAMILY}{THUMB}{FLAGS}!", ["so", FAMILY, THUMB, FLAGS[:2], FLAGS[2:], "!"]),
        ("❤\ufe0f❤", ["❤\ufe0f", "❤"]),
        ("   ", []),
        (("这 a", "b 很"), ["这", "a", "b", "很"]),
        (("a ", " b"), ["a", "b"]),
    ],
)
def test_of_bytes(text: Text, words: list[str]) -> None:
    assert seen(plain_bytes(), text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a good films!", ["a", "good", "films", "!"]),
        ("这部电影很好", ["这部", "电影", "很好"]),
        ("a  这部", ["a", "这部"]),
        ("good…", ["good", "…"]),
        ("ｇｏｏｄ", ["ｇｏｏｄ"]),
    ],
)
def test_of_sentence_pieces(text: str, words: list[str]) -> None:
    assert seen(sentence_pieces(), text) == words


def test_the_windows_of_a_text_share_their_words() -> None:
    tokenizer = word_pieces()
    tokenizer.enable_truncation(6, stride=2)
    encoding = tokenizer.encode("a good film is a fine film")
    words, owners = words_of("a good film is a fine film", [encoding, *encoding.overflowing])
    assert len(words) == 7
    assert [row.tolist() for row in owners] == [[-1, 0, 1, 2, 3, -1], [-1, 2, 3, 4, 5, -1], [-1, 4, 5, 6, -1]]


def test_what_was_cut_off_has_no_words() -> None:
    tokenizer = word_pieces()
    tokenizer.enable_truncation(4, direction="left")
    encoding = tokenizer.encode("a good film")
    words, owners = words_of("a good film", [encoding])
    assert [(word.start, word.end) for word in words] == [(2, 6), (7, 11)]
    assert np.array_equal(owners[0], [-1, 0, 1, -1])


def test_a_long_text_is_cut_into_words_in_time() -> None:
    text = FLAGS * 10 + "good film, " * 9_000
    assert len(seen(word_pieces(), text)) > 20_000


def test_the_mask_is_the_models_own_or_says_little() -> None:
    assert mask_of(word_pieces()) == (4, "[MASK]")
    assert mask_of(sentence_pieces()) == (0, "<unk>")
    assert mask_of(plain_bytes())[1] == "."
