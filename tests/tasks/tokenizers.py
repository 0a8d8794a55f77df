"""Small tokenizers of the kinds that token classifiers come with, as transformers holds them."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.conftest import make_tokenizer

CORPUS = (
    "Ada flew to Oslo with Grace Hopper and Alan",
    "Zoë lives in São Paulo, near Avenida Paulista 1578",
    "the engineers of Acme Corp. met in New York on Friday",
    "don't call +47 22 33 44 55 or write to ada@acme.example",
    "東京タワー は 東京 に ある",
    "emoji 👩‍👩‍👧 and 🇳🇴 in a post about Trondheim",
    "naïve façade résumé coöperate Ångström",
)


def _held(tokenizer: Tokenizer, max_length: int, **names: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **names)


def _letters() -> list[str]:
    return sorted(set("".join(CORPUS)) - {" "})


def _words() -> list[str]:
    return sorted({word for line in CORPUS for word in line.split()})


def word_piece(max_length: int) -> PreTrainedTokenizerFast:
    """Cased, with pieces of words, as BERT's: every second word is whole, all others are letters and pairs of these."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pairs = [f"##{word[2:4]}" for word in _words() if len(word) > 3]
    pieces = [*names, *_letters(), *(f"##{letter}" for letter in _letters()), *_words()[::2], *pairs]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return _held(tokenizer, max_length, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


def byte_level(max_length: int, *, prefix: bool = True, trims: bool = True) -> PreTrainedTokenizerFast:
    """Of bytes, as RoBERTa's."""
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=330, special_tokens=names, initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=trims, add_prefix_space=prefix
    )
    return _held(tokenizer, max_length, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>")


def byte_level_alone(max_length: int) -> PreTrainedTokenizerFast:
    """Of bytes, with nothing added, as GPT-2's."""
    tokenizer = byte_level(max_length, prefix=False).backend_tokenizer
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return _held(tokenizer, max_length, pad_token="<pad>")


def unigram(max_length: int) -> PreTrainedTokenizerFast:
    """As XLM-RoBERTa's."""
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(name, 0.0) for name in names] + [("▁", -4.0)] + [(letter, -8.0) for letter in _letters()]
    pieces += [(f"▁{word}", -9.0) for word in _words()[1::2]] + [
        (word[1:4], -9.5) for word in _words() if len(word) > 4
    ]
    tokenizer = Tokenizer(models.Unigram(list(dict(pieces).items()), 3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return _held(tokenizer, max_length, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>")


def added_words(max_length: int) -> PreTrainedTokenizerFast:
    """Pieces of words, and words of its own that are no special tokens."""
    held = word_piece(max_length)
    held.add_tokens([AddedToken("<user>"), AddedToken("Trondheim", single_word=True)])
    return held


KINDS: dict[str, Callable[[int], PreTrainedTokenizerFast]] = {
    "word-piece": word_piece,
    "word-piece, lower case without accents": lambda max_length: make_tokenizer(max_length),
    "word-piece, added words": added_words,
    "byte-level": byte_level,
    "byte-level, offsets with spaces": lambda max_length: byte_level(max_length, trims=False),
    "byte-level, nothing added": byte_level_alone,
    "unigram": unigram,
}
