"""Do two tokenizers give the same ids?"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

__all__ = ["Ids", "Places", "Text", "ids_of", "pairs_of", "places_of_tokens", "same_ids"]

Text = str | tuple[str, str]
Ids = tuple[list[int], list[int]]
"""Token ids and type ids of a text."""

Places = tuple[list[tuple[int, int]], list[int | None], list[int]]
"""Of each token of a text: where it begins and ends, its word, and 1 where the tokenizer added it."""


def same_ids(one: Tokenizer, other: Tokenizer, lines: Sequence[str]) -> bool:
    """Whether both give equal ids and type ids for each of `lines`, alone and as a pair with the next."""
    texts: list[Text] = [*lines, *pairs_of(lines)]
    return ids_of(one, texts) == ids_of(other, texts)


def pairs_of(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Each line with the next one, the last with the first."""
    return list(zip(lines, (*lines[1:], *lines[:1]), strict=True))


def ids_of(tokenizer: Tokenizer, texts: Sequence[Text]) -> list[Ids | None]:
    """What `tokenizer` makes of each text; None where it refuses it."""
    try:
        return [(encoding.ids, encoding.type_ids) for encoding in tokenizer.encode_batch_fast(list(texts))]
    except Exception:  # the library raises nothing narrower, for the whole batch
        return [_one(tokenizer, text) for text in texts]


def places_of_tokens(tokenizer: Tokenizer, texts: Sequence[Text]) -> list[Places]:
    """Where the tokens of each text stand in it. Each must be one that `tokenizer` takes."""
    encodings = tokenizer.encode_batch(list(texts))
    return [(encoding.offsets, encoding.word_ids, encoding.special_tokens_mask) for encoding in encodings]


def _one(tokenizer: Tokenizer, text: Text) -> Ids | None:
    try:
        (encoding,) = tokenizer.encode_batch_fast([text])
    except Exception:  # as above
        return None
    return encoding.ids, encoding.type_ids
