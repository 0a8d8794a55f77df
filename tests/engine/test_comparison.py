"""Two precisions of a token classifier, compared by texts, by tokens and by entities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from onnxpress.answers.fidelity import Answers, Decision, NotFiniteError, told_of_tokens
from onnxpress.errors import ConfigError
from onnxpress.examples import Example
from onnxpress.inputs.encoder import Encoder
from onnxpress.tasks.comparison import COMPARISONS, Compared, Measure

LABELS = ("O", "B-PER", "I-PER", "LOC")
TEXTS = ["Ada Lovelace saw London", "no one", "Bob"]
BEST = [[0, 1, 2, 0, 3, 0], [0, 0, 0, 0], [0, 1, 0]]
"""Labels of each text's tokens, [CLS] and [SEP] among them."""

TOKENS = COMPARISONS["token-classification"]


def tokenizer() -> Tokenizer:
    names = ["[UNK]", "[CLS]", "[SEP]", *" ".join(TEXTS).split()]
    made = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return made


ENCODER = Encoder(tokenizer(), max_length=16, truncation_side="right", max_characters=99, keeps_places=True)
ROWS = ENCODER.encode(TEXTS)
MEASURE = Measure(
    examples=[Example(text) for text in TEXTS], labels=LABELS, sample="s", budget=0.5, tokenizer=ENCODER.tokenizer
)


def logits(best: list[list[int]]) -> np.ndarray:
    return np.concatenate([np.eye(len(LABELS), dtype=np.float32)[row] for row in best]) * 3


ANSWERS = Answers(logits(BEST), Decision("softmax"), TOKENS.owners(ROWS))


def test_which_vectors_are_whose() -> None:
    assert ANSWERS.owners.texts == 3 and ANSWERS.owners.of.tolist() == [0] * 6 + [1] * 4 + [2] * 3
    assert np.flatnonzero(~ANSWERS.owners.decides).tolist() == [0, 5, 6, 9, 10, 12]


def test_what_changed_is_counted_by_texts_tokens_and_entities() -> None:
    found = logits([[3, 1, 0, 0, 3, 3], [0, 0, 3, 0], [0, 1, 0]])  # Lovelace is none, "one" is a place
    fidelity = TOKENS.compare(ANSWERS, ROWS, Compared(logits=found, name="int8", speed=2.0), MEASURE)
    assert (fidelity.texts, fidelity.changed, fidelity.accuracy) == (3, 2, None)
    tokens = fidelity.tokens
    assert tokens is not None
    # fp32: Ada Lovelace, London, Bob; the other: Ada, London, one, Bob
    assert (tokens.tokens, tokens.changed) == (7, 2)
    assert (tokens.entities, tokens.found, tokens.equal) == (3, 4, 2)
    assert [(e.text, e.reference, e.found) for e in fidelity.examples] == [
        ("Ada Lovelace saw London", "Lovelace: I-PER", "Lovelace: O"),
        ("no one", "one: O", "one: LOC"),
    ]
    assert "2 of 7 tokens changed; 2 of 3 entities equal (66.67%), 2 others found" in told_of_tokens(fidelity)


def test_the_same_answers_change_nothing() -> None:
    fidelity = TOKENS.compare(ANSWERS, ROWS, Compared(logits=ANSWERS.logits, name="int8", speed=None), MEASURE)
    assert fidelity.changed == 0 and fidelity.tokens is not None
    assert (fidelity.tokens.changed, fidelity.tokens.equal, fidelity.tokens.found) == (0, 3, 3)


def test_logits_that_are_not_finite_are_refused_by_their_texts() -> None:
    broken = ANSWERS.logits.copy()
    broken[[1, 2, 12]] = np.nan
    with pytest.raises(NotFiniteError, match="for 2 of 3 texts"):
        TOKENS.compare(ANSWERS, ROWS, Compared(logits=broken, name="int8", speed=None), MEASURE)


def test_a_file_of_texts_is_taken_without_its_labels_and_one_of_pairs_is_not() -> None:
    texts = [Example("a", "x"), Example("b", ("x", "y")), Example("c")]
    assert TOKENS.examples(texts, LABELS, "softmax", Path("f")) == [Example("a"), Example("b"), Example("c")]
    with pytest.raises(ConfigError, match="f: 1 rows are sentence pairs"):
        TOKENS.examples([*texts, Example(("a", "b"))], LABELS, "softmax", Path("f"))
