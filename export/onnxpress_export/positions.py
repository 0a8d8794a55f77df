"""How many tokens a classifier takes, asked of the model itself."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from onnxpress.errors import CheckpointError, ConfigError
from onnxpress_export.loading_errors import first_line
from onnxpress_export.reference import fresh

__all__ = ["Trial", "max_length", "try_model"]

_UNLIMITED: Final = 10**9  # transformers writes about 1e30 for a tokenizer without a limit of its own
_WORDS: Final = "a a a a a a a a"  # the same token over and over, so that only positions count upwards
_TOKENS: Final = 10


class Trial:
    """What a run on one short text, twice in a batch, showed.

    Attributes:
        logits: Shape of what the head gave.
        tokens: Tokens of the text.
        positions: Tokens that the model's tables of learned positions have rows for; None where it has no such table.
    """

    def __init__(self, logits: tuple[int, ...], tokens: int, positions: int | None) -> None:
        self.logits, self.tokens, self.positions = logits, tokens, positions


def try_model(source: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Trial:
    """Run `model`, which stays as it is, on a short text as its tokenizer gives it.

    Raises:
        CheckpointError: torch cannot run it.
    """
    rows = tokenizer([_WORDS, _WORDS], truncation=True, max_length=_TOKENS, return_tensors="pt")["input_ids"]
    lookups = _Lookups(rows.shape[1])
    try:
        with torch.no_grad(), lookups:
            logits = fresh(model)(input_ids=rows, attention_mask=torch.ones_like(rows)).logits
    except Exception as error:  # a model's own code may raise whatever it likes
        if "padding token" in str(error):  # a decoder that does not know where a text ends
            raise CheckpointError(source, f"{first_line(error)} Set pad_token_id in config.json.") from error
        kind = f"{type(model).__name__} ({model.config.model_type})"
        raise CheckpointError(
            source,
            f"torch itself cannot run {kind} on a short text ({first_line(error)}). "
            "Try it in transformers' pipeline first: what fails there cannot be exported.",
        ) from error
    return Trial(tuple(logits.shape), int(rows.shape[1]), min(lookups.capacities, default=None))


class _Lookups(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own base
    """Watches every table that is read at ascending places, one a token: a table of positions.

    Where a table's first rows stand for something else (padding, in RoBERTa and its like), positions begin behind
    them; the place of the first token tells where.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tokens = tokens
        self.capacities: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.embedding.default:
            table, places = args[0], args[1]
            if self._tokens > 1 and places.dim() > 0 and places.shape[-1] == self._tokens:
                flat = places.reshape(-1, self._tokens)
                steps = flat[:, 1:] - flat[:, :-1]
                if bool((steps == 1).all()) and bool((flat == flat[0]).all()):
                    self.capacities.append(int(table.shape[0]) - int(flat[0, 0]))
        return func(*args, **(kwargs or {}))


def max_length(
    source: str, config: Any, tokenizer: PreTrainedTokenizerFast, positions: int | None, asked: int | None
) -> int:
    """Tokens that a text may have: the least of what table, configuration and tokenizer allow, and of `asked`.

    Raises:
        ConfigError: `asked` is more than the model takes, or leaves a text no token of its own.
        CheckpointError: Nothing says how many, and nothing is asked.
    """
    text = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    stated = next((value for name in names if (value := _count(getattr(text, name, None))) is not None), _UNLIMITED)
    tokenizers = _count(tokenizer.model_max_length) or _UNLIMITED
    limit = min(stated, positions or _UNLIMITED, tokenizers, _UNLIMITED)
    if asked is None:
        if limit == _UNLIMITED:
            raise CheckpointError(
                source, "neither model nor tokenizer says how many tokens a text may have. Pass --max-length."
            )
        return limit
    special = tokenizer.backend_tokenizer.num_special_tokens_to_add(is_pair=True)
    if isinstance(asked, bool) or asked != int(asked) or asked <= special:
        raise ConfigError(f"max_length must be at least {special + 1} (the model adds {special} tokens), got {asked!r}")
    if asked > limit:
        raise ConfigError(f"max_length must be at most {limit:,}, which is what the model takes, got {asked:,}")
    return asked


def _count(value: object) -> int | None:
    """`value` as a number of tokens; None where it is none. Tokenizers state theirs as a float at times."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1:
        return int(min(value, _UNLIMITED))
    return None
