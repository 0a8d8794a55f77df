"""A classifier of MiniLM's shape with seeded weights, for machines without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LABELS", "MAX_LENGTH", "ids_of", "make_checkpoint", "text_of"]

MAX_LENGTH: Final = 512
LABELS: Final = ("negative", "neutral", "positive")
_SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS: Final = 2_000


def make_checkpoint(folder: Path, *, layers: int, width: int) -> Path:
    """Save it in `folder`: words are numbers, weights large enough that every part counts."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate((*_SPECIAL, *map(str, range(_WORDS))))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), _SPECIAL, strict=True))
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=MAX_LENGTH, model_input_names=inputs, **names
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        max_position_embeddings=MAX_LENGTH,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    torch.manual_seed(7)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embeddings" not in name:
                weight.mul_(3.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ids_of(generator: np.random.Generator, rows: int, tokens: int) -> NDArray[np.int64]:
    """Rows of `tokens` token ids each, special tokens included, at least 3."""
    ids = generator.integers(len(_SPECIAL), len(_SPECIAL) + _WORDS, (rows, tokens))
    ids[:, 0], ids[:, -1] = _SPECIAL.index("[CLS]"), _SPECIAL.index("[SEP]")
    return ids


def text_of(ids: NDArray[np.int64]) -> str:
    """The text whose tokens are `ids`, a row of `ids_of`."""
    return " ".join(str(word - len(_SPECIAL)) for word in ids[1:-1])
