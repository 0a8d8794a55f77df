"""Whether a service is ever slower than its classifier: python examples/measure_architectures.py [MODEL_TYPE…].

Makes a classifier of each type (four layers, 256 wide, random weights), exports it, and answers eight requests of one
long and 30 short texts: by the classifier one after the other, and by a service to which all are given at once. Prints
both times, and how many times faster the service is, with a 95 % interval, in turns.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification, PreTrainedTokenizerFast
from transformers.utils import logging

import onnxpress
from onnxpress_bench.statistics import median, paired_ratio
from onnxpress_export import export

WORDS = "a an and as at bad best but by film fine for fun good great has in is it just like long more not of on".split()
LONGEST, LONG, SHORT, REQUESTS = 512, 400, (3, 12), 8
ROUNDS = 8
SIZES: dict[str, Any] = {
    **dict.fromkeys(("num_hidden_layers", "n_layer"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_key_value_heads"), 4),
    **dict.fromkeys(("hidden_size", "n_embd", "word_embed_proj_dim"), 256),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim"), 1_024),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), LONGEST),
    **{"head_dim": 64, "query_pre_attn_scalar": 64, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
}
OWN: dict[str, dict[str, Any]] = {
    "modernbert": {"classifier_pooling": "mean"},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "conv_kernel_size": 3},
}
TYPES = ("bert", "modernbert", "deberta-v2", "llama", "mistral", "qwen3", "gemma3_text", "gpt2", "opt")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word a token, between [CLS] and [SEP]."""
    vocabulary = {word: number for number, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=LONGEST
    )


def save_checkpoint(model_type: str, folder: Path) -> None:
    """A seeded classifier of two labels."""
    tokenizer = make_tokenizer()
    known = CONFIG_MAPPING[model_type]().to_dict()
    sizes = {name: value for name, value in SIZES.items() if name in known} | OWN.get(model_type, {})
    torch.manual_seed(1)
    config = CONFIG_MAPPING[model_type](vocab_size=len(tokenizer), num_labels=2, **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def requests() -> list[list[str]]:
    """Eight requests of one long and 30 short texts."""
    draw = random.Random(5)
    sizes = [[LONG, *(draw.randint(*SHORT) for _ in range(30))] for _ in range(REQUESTS)]
    return [[" ".join(draw.choices(WORDS, k=size)) for size in request] for request in sizes]


def measure(artifact: Path) -> tuple[list[float], list[float]]:
    """Seconds of the classifier and of the service, one figure a round."""
    asked = requests()
    alone, served = list[float](), list[float]()
    with (
        onnxpress.load(artifact, spinning=False) as classifier,
        onnxpress.ThreadedClassifier(classifier) as service,
    ):
        for number in range(ROUNDS + 1):
            begin = time.perf_counter()
            for request in asked:
                classifier(request)
            between = time.perf_counter()
            for future in [service.submit(text) for request in asked for text in request]:
                future.result()
            if number:  # the first round opens what the service runs on
                alone.append(between - begin)
                served.append(time.perf_counter() - between)
    return alone, served


def main(model_types: list[str]) -> None:
    """Print a line for each type."""
    logging.disable_progress_bar()
    for model_type in model_types:
        with tempfile.TemporaryDirectory() as name:
            save_checkpoint(model_type, Path(name) / "checkpoint")
            report = export(Path(name) / "checkpoint", Path(name) / "artifact")
            packs = "packed" if report.manifest.variants[0].packed else "not packed"
            alone, served = measure(Path(name) / "artifact")
        ratio = paired_ratio(alone, served)
        print(
            f"{model_type} ({packs}): {median(alone) * 1e3:,.0f} ms by the classifier, {median(served) * 1e3:,.0f} ms "
            f"in a service, {ratio.value:.2f} times as fast [{ratio.low:.2f}, {ratio.high:.2f}]",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:] or list(TYPES))
