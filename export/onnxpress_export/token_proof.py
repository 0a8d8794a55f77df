"""Does the tokenizer that was written give the checkpoint's own ids, in the engine's hands?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from tokenizers import Tokenizer

from onnxpress.artifacts.manifest import Tokens
from onnxpress.errors import CheckFailedError
from onnxpress.inputs.encoder import Encoder
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.token_corpus import corpus
from onnxpress_export.token_ids import Ids, Places, Text, ids_of, pairs_of, places_of_tokens

__all__ = ["TokensError", "check_tokens"]

_MOST_OF_THE_SAMPLE: Final = 2_000
_SHORT: Final = 12
_LONG: Final = 512
_MAX_CHARACTERS: Final = 10**9
_SHOWN: Final = 60
_SIDES: Final[tuple[Literal["left", "right"], ...]] = ("left", "right")


class TokensError(CheckFailedError):
    """The artifact's tokenizer makes other tokens of a text than the checkpoint's own."""

    def __init__(self, text: str, where: str, what: str = "ids") -> None:
        super().__init__(text, where, what)
        self.text, self.where, self.what = text, where, what

    def __str__(self) -> str:
        return (
            f"the artifact's tokenizer gives other {self.what} than the checkpoint's own for {self.text}, "
            f"{self.where}. Nothing was written. Please report it with the checkpoint's tokenizer.json."
        )


def check_tokens(checkpoint: Checkpoint, directory: Path, sample: Sequence[Text]) -> Tokens:
    """Compare the tokenizer.json in `directory` with the checkpoint's own, on written lines and on `sample`.

    Each text alone and as a pair with the next; whole, where tokens must also stand at the same places, and cut on the
    left and on the right side, to few tokens and to as many as the model takes (at most 512, to keep texts short).

    Raises:
        TokensError: Ids, type ids or places differ.
    """
    own = checkpoint.tokenizer_source
    content = (directory / "tokenizer.json").read_text(encoding="utf-8")
    written = corpus(Tokenizer.from_str(own.reference))
    pairs = [text for text in sample if isinstance(text, tuple)]
    lines = list(dict.fromkeys((*written, *(text for text in sample if isinstance(text, str)))))[
        : len(written) + _MOST_OF_THE_SAMPLE
    ]
    texts: list[Text] = [*lines, *pairs_of(lines), *pairs[:_MOST_OF_THE_SAMPLE]]
    reference = Tokenizer.from_str(own.reference)
    wanted = ids_of(reference, texts)
    _require_equal(texts, wanted, ids_of(Tokenizer.from_str(content), texts), "whole")
    texts = [text for text, ids in zip(texts, wanted, strict=True) if ids and ids[0]]  # a few have no form in it
    _require_places(texts, *(places_of_tokens(one, texts) for one in (reference, Tokenizer.from_str(content))))
    special = reference.num_special_tokens_to_add(is_pair=True)
    for length in dict.fromkeys(min(checkpoint.max_length, limit) for limit in (_SHORT, _LONG)):
        if length <= special:
            continue
        cut: list[Text] = [*texts, *_long_texts(written, length)]
        for side in _SIDES:
            reference.enable_truncation(length, strategy="longest_first", direction=side)
            encoder = Encoder(
                Tokenizer.from_str(content), max_length=length, truncation_side=side, max_characters=_MAX_CHARACTERS
            )
            found: list[Ids | None] = [
                (row.column("input_ids").tolist(), row.column("token_type_ids").tolist())
                for row in encoder.tokenize(cut).encodings
            ]
            _require_equal(cut, ids_of(reference, cut), found, f"cut to {length} tokens on the {side}")
    return Tokens(texts=len(texts), reference=own.form, rebuilt=own.rebuilt)


def _require_equal(
    texts: Sequence[Text], wanted: Sequence[Ids | None], found: Sequence[Ids | None], where: str
) -> None:
    for text, own, other in zip(texts, wanted, found, strict=True):
        if own != other:
            raise TokensError(repr(text)[:_SHOWN], where)


def _require_places(texts: Sequence[Text], wanted: Sequence[Places], found: Sequence[Places]) -> None:
    for text, own, other in zip(texts, wanted, found, strict=True):
        if own != other:
            raise TokensError(repr(text)[:_SHOWN], "whole", "places of tokens")


def _long_texts(lines: Sequence[str], length: int) -> list[Text]:
    """Texts that surely have more than `length` tokens: a pair of a long one and a short one, each way, and a text.

    Not much more: what is cut off a pair comes in pieces, as many as the pieces of one text times those of the other.
    """
    words = " ".join(lines).split()
    text = " ".join((words * (1 + 2 * length // len(words)))[: 2 * length])
    return [text, (text, "short"), ("short", text), (text, text)]
