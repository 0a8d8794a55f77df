"""Checkpoints without a tokenizer.json: vocabulary files and sentencepiece models, converted and compared."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import ByteLevelBPETokenizer

import onnxpress
from onnxpress_export import slow_tokenizer
from onnxpress_export.tokenizer import load_tokenizer
from tests.conftest import WORDS

# The class; the model's kind and file; how it is trained; what tokenizer_config.json says; what transformers loses.
MODELS: dict[str, tuple[str, str, str, dict[str, Any], dict[str, Any], bool]] = {
    "t5": ("T5Tokenizer", "unigram", "spiece.model", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
           {"extra_ids": 0, "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}, False),
    "xlm-roberta": ("XLMRobertaTokenizer", "unigram", "sentencepiece.bpe.model", {}, {}, False),
    "camembert": ("CamembertTokenizer", "unigram", "sentencepiece.bpe.model", {}, {}, False),
    "albert": ("AlbertTokenizer", "unigram", "spiece.model",
               {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"]},
               {"do_lower_case": True}, False),
    "xlnet": ("XLNetTokenizer", "unigram", "spiece.model",
              {"control_symbols": ["<cls>", "<sep>", "<mask>", "<pad>", "<eop>", "<eod>"]}, {}, False),
    "deberta-v2": ("DebertaV2Tokenizer", "unigram", "spm.model",
                   {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "bos_piece": "[CLS]", "eos_piece": "[SEP]",
                    "pad_piece": "[PAD]", "unk_piece": "[UNK]"}, {}, True),
    "llama": ("LlamaTokenizer", "bpe", "tokenizer.model",
              {"byte_fallback": True, "vocab_size": 400, "normalization_rule_name": "identity",
               "remove_extra_whitespaces": False}, {}, True),
}  # fmt: skip
TEXTS = ("good film", "  leading spaces", "non\xa0breaking", "ﬁne ＡＢＣ", "Good, bad?")


def lines() -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=8)) for _ in range(400)] + ["Numbers 123 and 4567, punctuation! (yes?)"] * 5


def save(folder: Path, model_type: str) -> Path:
    name, kind, file, training, settings, _ = MODELS[model_type]
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines()), model_prefix=str(folder / Path(file).stem), model_type=kind,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, **{"vocab_size": 120, **training})  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **settings}))
    return folder / file


@pytest.mark.parametrize("model_type", MODELS)
def test_sentencepiece_models_alone_are_converted_and_compared(model_type: str, tmp_path: Path) -> None:
    path = save(tmp_path, model_type)
    own = load_tokenizer(str(tmp_path), {})
    name, *_, loses = MODELS[model_type]
    assert (own.form, own.rebuilt) == ("slow", name if loses else None)
    backend, processor = own.tokenizer.backend_tokenizer, SentencePieceProcessor(model_file=str(path))
    for text in TEXTS if model_type != "albert" else map(str.lower, TEXTS):
        found = [backend.id_to_token(token) for token in backend.encode(text, add_special_tokens=False).ids]
        wanted = [processor.id_to_piece(token) for token in processor.encode(text)]
        assert [piece.replace("[UNK]", "<unk>") for piece in found] == [
            piece.replace("[UNK]", "<unk>") for piece in wanted
        ]


@pytest.mark.parametrize(("model_type", "name"), [("roberta", "RobertaTokenizer"), ("gpt2", "GPT2Tokenizer")])
def test_vocabulary_and_merges_alone_are_converted_and_compared(model_type: str, name: str, tmp_path: Path) -> None:
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    trained.train_from_iterator(lines(), vocab_size=400, show_progress=False, special_tokens=special)
    trained.save_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    own = load_tokenizer(str(tmp_path), {})
    assert (own.form, own.rebuilt) == ("slow", None)
    backend = own.tokenizer.backend_tokenizer
    for text in TEXTS:
        assert backend.encode(text, add_special_tokens=False).tokens == trained.encode(text).tokens


def test_what_no_completion_mends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "deberta-v2")
    monkeypatch.setattr(slow_tokenizer, "_completed", lambda *_: [])
    with pytest.raises(onnxpress.CheckpointError, match=r"DebertaV2Tokenizer cuts .* otherwise than its vocabulary"):
        load_tokenizer(str(tmp_path), {})


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "xlm-roberta").write_bytes(b"no model at all")
    with pytest.raises(onnxpress.CheckpointError):
        load_tokenizer(str(tmp_path), {})
