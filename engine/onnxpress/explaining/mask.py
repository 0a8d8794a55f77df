"""What stands in for a masked token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onnxpress.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["mask_of"]

_NAMES: Final = ("mask", "unk")
_OMISSION: Final = "..."


def mask_of(tokenizer: Tokenizer) -> tuple[int, str]:
    """The id and the text of the token that says least: the mask, where the model knows one.

    Without one it is the unknown token, and else the first one of "...", as in the `shap` package. Never what ends or
    pads a text: there are models that read their answer at its place.

    Raises:
        ConfigError: The tokenizer has none of these.
    """
    special = {token.content: index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    for name in _NAMES:
        for content in (f"[{name.upper()}]", f"<{name}>", f"<|{name}|>"):
            found = special.get(content, tokenizer.token_to_id(content))
            if found is not None:
                return found, content
    omission = tokenizer.encode(_OMISSION, add_special_tokens=False)
    if not len(omission):
        raise ConfigError("the tokenizer has no token to mask words with: no mask, no unknown token and no '...'")
    return omission.ids[0], omission.tokens[0]
