"""An artifact of each task, and tiny models with weights large enough that each term matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import onnxpress
from onnxpress_export import export
from tests.conftest import MAX_LENGTH, WORDS, Exported, make_tokenizer, randomize
from tests.made_once import MadeOnce
from tests.tasks.subjects import Subject

PREMISES = [
    "the film has heart",
    "a sad story, too long by far: not one scene of it is fun",
    "",
    "Star plot work! Who made this? 3.14 and naïve café",
    " ".join(WORDS) + " the end is near",  # cut
    "good " * 300,  # cut
]
LABELS = ["fun", "sad story", "best film you ever made", "plot", "work of the worst kind"]


def word_pieces() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def byte_pairs() -> PreTrainedTokenizerFast:
    """As RoBERTa's and BART's: bytes, <s> A </s></s> B </s>, no token types."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "f"), ("i", "l"), ("Ġf", "il"), ("Ġfil", "m"), ("Ġ", "s"), ("Ġs", "a"), ("Ġsa", "d")]
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = dict.fromkeys([*names, *letters, *("".join(merge) for merge in merges)])
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(names)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        unk_token="<unk>", pad_token="<pad>", mask_token="<mask>",
    )  # fmt: skip


def unigrams() -> PreTrainedTokenizerFast:
    """As DeBERTa-v3's: SentencePiece, [CLS] A [SEP] B [SEP] with token types."""
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    pieces = dict.fromkeys([*names, "▁", *map(chr, range(97, 123)), *(f"▁{word}" for word in WORDS)])
    tokenizer = Tokenizer(models.Unigram([(piece, -float(i % 17) - 1) for i, piece in enumerate(pieces)], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(names)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", unk_token="[UNK]", mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def bert(tokenizer: PreTrainedTokenizerFast, **settings: Any) -> PreTrainedModel:
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=MAX_LENGTH, **settings,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def bart(tokenizer: PreTrainedTokenizerFast, **settings: Any) -> PreTrainedModel:
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=MAX_LENGTH,
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, **settings,
    )  # fmt: skip
    return BartForSequenceClassification(config)


def deberta(tokenizer: PreTrainedTokenizerFast, **settings: Any) -> PreTrainedModel:
    config = DebertaV2Config(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=MAX_LENGTH, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8,
        type_vocab_size=2, pad_token_id=0, **settings,
    )  # fmt: skip
    return DebertaV2ForSequenceClassification(config)


KINDS: dict[str, tuple[Callable[[], PreTrainedTokenizerFast], Callable[..., PreTrainedModel], list[str]]] = {
    "bert": (word_pieces, bert, ["contradiction", "neutral", "entailment"]),
    "bart": (byte_pairs, bart, ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]),
    "deberta": (unigrams, deberta, ["entailment", "not_entailment"]),
}


@pytest.fixture(scope="session", params=list(KINDS))
def nli(request: pytest.FixtureRequest, made_once: MadeOnce) -> Exported:
    make, build, labels = KINDS[request.param]

    def export_it(folder: Path) -> None:
        torch.manual_seed(5)
        tokenizer = make()
        names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
        randomize(build(tokenizer, **names)).save_pretrained(folder / "checkpoint")
        tokenizer.save_pretrained(folder / "checkpoint")
        export(folder / "checkpoint", folder / "artifact")

    made = made_once(f"nli-{request.param}", export_it)
    return Exported(made / "checkpoint", made / "artifact")


@pytest.fixture(scope="session")
def pipeline(nli: Exported) -> Any:
    """transformers' own."""
    from transformers import pipeline as make

    return make("zero-shot-classification", model=str(nli.checkpoint), device="cpu")


@pytest.fixture(scope="session")
def zero_shot_classifier(nli: Exported) -> onnxpress.Classifier:
    return onnxpress.load(nli.artifact, spinning=False)


@pytest.fixture(scope="session", params=["text-classification", "token-classification"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "text-classification":
        return Subject(
            artifact=request.getfixturevalue("artifact"),
            kind=onnxpress.Classifier,
            threaded=onnxpress.ThreadedClassifier,
            asynchronous=onnxpress.AsyncClassifier,
            ask="classify",
            columns=("label", "score"),
            lone=((("good film", "bad"), ("good film", "bad")), ({"text": "a film"}, "a film")),
        )
    return Subject(
        artifact=request.getfixturevalue("token_artifact"),
        kind=onnxpress.TokenClassifier,
        threaded=onnxpress.ThreadedTokenClassifier,
        asynchronous=onnxpress.AsyncTokenClassifier,
        ask="tag",
        columns=("entities",),
        lone=(({"text": "a film"}, "a film"),),
    )


@pytest.fixture(scope="session")
def model(subject: Subject) -> Iterator[Any]:
    """Loaded for bulk, with two workers."""
    with subject.load(optimize_for="throughput", threads=2, spinning=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def some() -> list[str]:
    """60 texts of 1 to 40 words, seeded, and some that are no plain words."""
    generator = np.random.default_rng(11)
    plain = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(1, 41, 60)]
    return [*plain, "", "   ", "Zoe\u0308 👩‍👩‍👧", "good film\r\nbad film", plain[0]]
