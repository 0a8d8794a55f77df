"""What tokens a model can be given without meaning something special by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["attention_heads", "ending_token", "example_inputs", "layer_count", "ordinary_tokens", "vocabulary_size"]

_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads")

_MOST_TRIED = 1_000
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")


def ending_token(model: PreTrainedModel) -> int | None:
    """The token that `model` reads its answer at, each row's last; None where it reads none by its id.

    Encoder-decoders (BART, T5) answer at their eos token, and have no answer to a row without one.
    """
    config: Any = model.config
    end = getattr(config, "eos_token_id", None)
    pools = bool(getattr(config, "is_encoder_decoder", False)) and hasattr(model, "classification_head")
    if not pools or end is None:
        return None
    return int(end[0] if isinstance(end, (list, tuple)) else end)


def attention_heads(model: PreTrainedModel) -> int:
    """Heads of one attention, the most where layers differ."""
    text: Any = model.config.get_text_config()
    found = [count for name in _HEADS if isinstance(count := getattr(text, name, None), int)]
    return max([1, *found])


def layer_count(model: PreTrainedModel) -> int:
    """Layers as the configuration counts them; an encoder's and a decoder's together."""
    config: Any = model.config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        both = [getattr(config, name, None) for name in ("encoder_layers", "decoder_layers")]
        if all(isinstance(count, int) for count in both):
            return sum(count for count in both if count)
    return int(next((count for name in _LAYERS if isinstance(count := getattr(config, name, None), int)), 0))


def vocabulary_size(model: PreTrainedModel) -> int | None:
    """Tokens that `model` embeds; None where it has no table of them (CANINE hashes characters)."""
    try:
        embeddings: Any = model.get_input_embeddings()
    except NotImplementedError:
        return None
    weight = getattr(embeddings, "weight", None)
    return None if weight is None else int(weight.shape[0])


def ordinary_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> NDArray[np.int64]:
    """The tokenizer's ids that are no special tokens, nor named by the configuration (eos, images …)."""
    named = {value for config in (model.config, model.config.get_text_config()) for value in _token_ids(config)}
    special = named | set(tokenizer.all_special_ids)
    return np.array(sorted(set(tokenizer.get_vocab().values()) - special), dtype=np.int64)


def _token_ids(config: Any) -> list[int]:
    ids = [value for name, value in vars(config).items() if name.endswith(("_token_id", "_token_index"))]
    return [one for value in ids for one in (value if isinstance(value, (list, tuple)) else [value]) if one is not None]


def example_inputs(model: PreTrainedModel, *, batch: int, sequence: int, padding: int) -> dict[str, torch.Tensor]:
    """Rows of different tokens, of which the last is padded by `padding`; each ends with `ending_token`.

    No id of a special token is met but that one, as far as the configuration names them.
    """
    named = {*_token_ids(model.config), *_token_ids(model.config.get_text_config())}
    usual = [token for token in range(min(vocabulary_size(model) or _MOST_TRIED, _MOST_TRIED)) if token not in named]
    ids = torch.tensor([usual[index % len(usual)] for index in range(batch * sequence)]).reshape(batch, sequence)
    mask = torch.ones_like(ids)
    mask[-1, sequence - padding :] = 0
    blank = next((value for value in [_padding_id(model)] if value is not None), usual[0])
    ids[mask == 0] = blank
    if (end := ending_token(model)) is not None:
        ids[torch.arange(batch), mask.sum(1) - 1] = end
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def _padding_id(model: PreTrainedModel) -> int | None:
    found = getattr(model.config.get_text_config(), "pad_token_id", None)
    return None if found is None else int(found)
