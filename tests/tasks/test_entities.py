"""Entities beside those of transformers' own pipeline, one for one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import BertConfig, BertForTokenClassification, TokenClassificationPipeline

from onnxpress.answers.answered import Answered
from onnxpress.inputs.encoder import Encoder
from onnxpress.inputs.texts import Words
from onnxpress.inputs.vectors import bounds_of
from onnxpress.tasks.entities import Entity, EntityMaker, answering_tokens
from onnxpress.tasks.token_classification import TokenClassification
from tests.conftest import randomize
from tests.tasks.tokenizers import KINDS

MAX_LENGTH = 24
LABELS = {
    "BIO": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
    "no BIO": ("O", "NOUN", "0", "misc", "é"),
    "some BIO": ("O", "B-PER", "I-PER", "PER", "B-LOC"),
    "BIOES": ("O", "B-PER", "E-PER", "S-PER", "I-PER"),
}
AGGREGATIONS = ("none", "simple", "first", "average", "max")
ATOL = 2e-6  # torch pads windows, and sums in another order
TEXTS = (
    "Ada flew to Oslo with Grace Hopper",
    "a",
    " ",
    "   two spaces  before\tand a tab",
    "a line\r\nand another\n\nthird",
    "Zoe\u0308 in Sa\u0303o Paulo",  # marks apart from their letters
    "Zoë in São Paulo",
    "emoji 👩‍👩‍👧 and 🇳🇴🇳🇴 here 👍🏽",
    "Os\u200blo and \ufeffTrond\u00adheim\u2060",
    "no\u00a0break\u2003wide",
    "東京タワー は東京にある",
    "don't, (call) +47 22:33—44/55 ada@acme.example!",
    "[SEP] <unk> <s> [UNK] are no special tokens here <user>",
    "ﬁne ½ Ⅷ ﷺ ẞ İstanbul",
    "xyzzyqqq ☃☃☃ \x00\x01 ok",
)


@dataclass
class Beside:
    """A model, as the pipeline and as the engine answer with it."""

    kind: str
    labels: Sequence[str] = LABELS["BIO"]
    max_length: int = MAX_LENGTH
    model: Any = field(init=False)

    def __post_init__(self) -> None:
        self.tokenizer = KINDS[self.kind](self.max_length)
        config = BertConfig(
            vocab_size=len(self.tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=512, id2label=dict(enumerate(self.labels)),
        )  # fmt: skip
        self.model = randomize(BertForTokenClassification(config)).eval()
        with torch.no_grad():
            self.model.classifier.weight *= 4  # sure and unsure tokens, of all labels

    def wanted(self, text: object, aggregation: str, **parameters: object) -> list[Entity]:
        """The pipeline's."""
        pipe = TokenClassificationPipeline(model=self.model, tokenizer=self.tokenizer, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pipe(text, aggregation_strategy=aggregation, **parameters)
        if isinstance(text, list):
            (found,) = found
        source = " ".join(text) if isinstance(text, list) else text
        name = "entity" if aggregation == "none" else "entity_group"
        return [Entity(e[name], float(e["score"]), e["start"], e["end"], source[e["start"] : e["end"]]) for e in found]

    def answered(self, texts: Sequence[str | Words], **settings: Any) -> tuple[Answered, Encoder]:
        tokenizer = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        encoder = Encoder(
            tokenizer, max_length=self.max_length, truncation_side="right",
            max_characters=10**6, keeps_places=True, **settings,
        )  # fmt: skip
        rows = encoder.encode(texts)
        with torch.no_grad():
            logits = [
                self.model(torch.tensor(row.ids[None].astype(np.int64))).logits[0].numpy() for row in rows.encodings
            ]
        bounds = TokenClassification(len(self.labels)).text_bounds(rows)
        return Answered(np.concatenate(logits), np.zeros(len(texts), np.uint8), rows, bounds=bounds), encoder

    def found(
        self, texts: Sequence[str | Words], aggregation: str, ignored: Sequence[str] = ("O",), **settings: Any
    ) -> list[list[Entity]]:
        """The engine's."""
        answered, encoder = self.answered(texts, **settings)
        maker = EntityMaker(self.labels, encoder.tokenizer, encoder.unknown_token)
        return maker.entities(answered, aggregation, ignored)  # type: ignore[arg-type]


def assert_equal(found: Sequence[Entity], wanted: Sequence[Entity]) -> None:
    assert [(e.label, e.start, e.end, e.text) for e in found] == [(e.label, e.start, e.end, e.text) for e in wanted]
    np.testing.assert_allclose([e.score for e in found], [e.score for e in wanted], rtol=0, atol=ATOL)


Make = Callable[..., Beside]


@pytest.fixture(scope="module")
def make() -> Make:
    made: dict[object, Beside] = {}

    def get(kind: str, labels: str = "BIO", max_length: int = MAX_LENGTH) -> Beside:
        key = (kind, labels, max_length)
        if key not in made:
            made[key] = Beside(kind, LABELS[labels], max_length)
        return made[key]

    return get


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_entities_are_the_pipelines(kind: str, aggregation: str, make: Make) -> None:
    both = make(kind)
    texts = [text for text in TEXTS if len(both.tokenizer(text)["input_ids"])]
    for text, found in zip(texts, both.found(texts, aggregation), strict=True):
        assert_equal(found, both.wanted(text, aggregation))
    assert any(both.found(texts, aggregation))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("aggregation", ["simple", "first"])
def test_labels_of_every_scheme(labels: str, aggregation: str, make: Make) -> None:
    both = make("word-piece", labels)
    for text, found in zip(TEXTS, both.found(TEXTS, aggregation), strict=True):
        assert_equal(found, both.wanted(text, aggregation))


def test_a_label_with_a_hyphen_that_is_no_bio_is_taken_as_it_is() -> None:
    both = Beside("word-piece", ("O", "date-time", "date-day", "B-x-y", "I-x-y"))
    labels = {entity.label for entities in both.found(TEXTS, "simple") for entity in entities}
    assert labels == {"date-time", "date-day", "x-y"}
    assert {e.label for entities in both.found(TEXTS, "none") for e in entities} <= set(both.labels)


def test_labels_that_are_ignored(make: Make) -> None:
    both = make("word-piece")
    for ignored in ([], ["PER"], ["O", "B-PER"]):
        for aggregation in ("none", "simple"):
            for text, found in zip(TEXTS, both.found(TEXTS, aggregation, ignored), strict=True):
                assert_equal(found, both.wanted(text, aggregation, ignore_labels=ignored))


@pytest.mark.parametrize("aggregation", AGGREGATIONS[1:])
@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_joined_as_the_pipeline_does(kind: str, aggregation: str, make: Make) -> None:
    both = make(kind)
    long = " ".join([*TEXTS[:2], *TEXTS[4:12]])
    for stride in (0, 3, 9, 15):
        (found,) = both.found([long], aggregation, long_text="windows", stride=stride)
        assert_equal(found, both.wanted(long, aggregation, stride=stride))


@pytest.mark.parametrize("kind", ["word-piece", "word-piece, added words", "byte-level", "unigram"])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_words_that_the_caller_has_split(kind: str, aggregation: str, make: Make) -> None:
    both = make(kind)
    for words in (["Ada", "flew", "to", "Oslo"], ["São", "Paulo,", "New York", "👩‍👩‍👧"], ["x"], ["a", "", "b"]):
        try:
            wanted = both.wanted(words, aggregation, is_split_into_words=True)
        except AssertionError:
            pytest.skip("transformers takes no words with this tokenizer")
        (found,) = both.found([Words(tuple(words))], aggregation)
        assert_equal(found, wanted)


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_offsets_are_the_pipelines_on_any_text(text: str) -> None:
    both = _shared()
    if any(0xD800 <= ord(character) < 0xE000 for character in text) or not text.strip():
        return
    for aggregation in ("none", "average"):
        (found,) = both.found([text], aggregation)
        assert_equal(found, both.wanted(text, aggregation))


_made: list[Beside] = []


def _shared() -> Beside:
    if not _made:
        _made.append(Beside("unigram"))
    return _made[0]


@pytest.mark.parametrize("stride", [0, 1, 2, 5, 8, 21])
def test_each_token_of_a_long_text_answers_once(stride: int, make: Make) -> None:
    both = make("word-piece")
    long, short = " ".join([*TEXTS[4:12]]), "Ada flew"
    answered, encoder = both.answered([short, long], long_text="windows", stride=stride)
    rows = answered.rows
    which, starts = rows.rows_of(np.arange(2))
    assert starts is not None and len(which) > 3
    kept = answering_tokens(rows, which)
    ids = np.concatenate([row.ids for row in rows.encodings])[kept]
    whole = [encoder._whole.encode(text).ids for text in (short, long)]
    assert ids.tolist() == [*whole[0], *whole[1]]
    windows = [len(rows.encodings[row]) - 2 for row in which.tolist()[1:]]
    mine = np.split(kept[bounds_of(rows.lengths)[1] :], np.cumsum(np.array(windows) + 2)[:-1])
    answers: dict[
        int, tuple[int, int]
    ] = {}  # of each token the window farthest from whose edge it is, the first of such
    for number, length in enumerate(windows):
        for place in range(length):
            left = place if number else 10**6
            right = length - 1 - place if number + 1 < len(windows) else 10**6
            token = number * (both.max_length - 2 - stride) + place
            answers[token] = max(answers.get(token, (-1, 0)), (min(left, right), -number))
    for number, length in enumerate(windows):
        begin = number * (both.max_length - 2 - stride)
        wanted = [answers[begin + place][1] == -number for place in range(length)]
        assert mine[number][1:-1].tolist() == wanted


def test_without_texts_there_are_no_entities(make: Make) -> None:
    both = make("word-piece")
    answered, encoder = both.answered(["Ada"])
    maker = EntityMaker(both.labels, encoder.tokenizer, encoder.unknown_token)
    assert maker.entities(answered.only([]), "simple", ("O",)) == []
    assert both.found(["", " "], "first") == [[], []]
    repeated = answered.placed(np.array([0, 0]))
    assert maker.entities(repeated, "simple", ()) == 2 * maker.entities(answered, "simple", ())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
