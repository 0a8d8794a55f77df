"""A tokenizer that only its vocabulary files describe: is what transformers made of them right?

Asked of another implementation over the same files: the tokenizers library's own for WordPiece and byte-level BPE,
sentencepiece for its models. Special tokens around a text are not in these files; transformers' classes add them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer, normalizers
from tokenizers.implementations import BertWordPieceTokenizer, ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from onnxpress.errors import CheckpointError
from onnxpress_export.loading_errors import one_line
from onnxpress_export.token_corpus import corpus

__all__ = ["SLOW_FILES", "agreeing"]

_SENTENCEPIECE: Final = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model")
_WITHOUT_ACCENTS: Final = ("AlbertTokenizer", "XLNetTokenizer")
"""Classes that drop them unless `keep_accents` is set."""
SLOW_FILES: Final = ("vocab.txt", "vocab.json", "merges.txt", *_SENTENCEPIECE)

_Tokens = Callable[[str], Sequence[str]]


def agreeing(source: str, converted: PreTrainedTokenizerFast, files: Mapping[str, Path | None]) -> Tokenizer:
    """The backend of `converted` that cuts texts, without special tokens, as the files themselves do.

    As transformers made it; or with what it may have left out of a sentencepiece model: the model's own table of
    characters (DeBERTa's), the space before every text (Llama's).

    Args:
        source: The checkpoint.
        converted: What transformers made.
        files: Where each of `SLOW_FILES` lies; None for those that are not there.

    Raises:
        CheckpointError: They differ, or nothing is known that could tell.
    """
    backend: Tokenizer = converted.backend_tokenizer
    there = {name: str(path) for name, path in files.items() if path is not None}
    with one_line(source, "its tokenizer's files cannot be read"):
        own = _own_tokens(converted, there)
        candidates = [backend, *_completed(backend, there)]
    if own is None:
        raise CheckpointError(
            source,
            "has no tokenizer.json, and its slow form cannot be compared. Save a fast one beside it.",
        )
    wanted = {line: list(own(line)) for line in _plain_lines(backend)}
    differing = [next((line for line, found in wanted.items() if _cut(one, line) != found), None) for one in candidates]
    if None in differing:
        return candidates[differing.index(None)]
    raise CheckpointError(
        source,
        f"has no tokenizer.json, and transformers' {type(converted).__name__} cuts {str(differing[0])[:40]!r} "
        "otherwise than its vocabulary files say. Save a fast tokenizer (tokenizer.json) beside the model.",
    )


def _cut(backend: Tokenizer, line: str) -> list[str]:
    return [str(backend.id_to_token(token)) for token in backend.encode(line, add_special_tokens=False).ids]


def _completed(backend: Tokenizer, files: Mapping[str, str]) -> list[Tokenizer]:
    """What a sentencepiece model says of normalization, put into copies of `backend`."""
    path = next((files[name] for name in _SENTENCEPIECE if name in files), None)
    if path is None:
        return []
    from sentencepiece import sentencepiece_model_pb2

    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]  # made at run time
    model.ParseFromString(Path(path).read_bytes())
    table = model.normalizer_spec.precompiled_charsmap
    first = [normalizers.Precompiled(table)] if table else []
    by_table, prefixed = (Tokenizer.from_str(backend.to_str()) for _ in range(2))
    by_table.normalizer = normalizers.Sequence([*first, *([backend.normalizer] if backend.normalizer else [])])
    prefixed.normalizer = normalizers.Sequence([*first, normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    prefixed.pre_tokenizer = None
    return [by_table, prefixed] if model.normalizer_spec.add_dummy_prefix else [by_table]


def _own_tokens(converted: PreTrainedTokenizerFast, files: Mapping[str, str]) -> _Tokens | None:
    settings = converted.init_kwargs
    lower = bool(settings.get("do_lower_case", getattr(converted, "do_lower_case", False)))
    if model := next((files[name] for name in _SENTENCEPIECE if name in files), None):
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor(model_file=model)
        unknown = str(converted.unk_token)

        def pieces(line: str) -> list[str]:
            plain = (
                line if settings.get("keep_accents", type(converted).__name__ not in _WITHOUT_ACCENTS) else _bare(line)
            )
            found: list[str] = processor.encode(plain.lower() if lower else plain, out_type=str)
            return [unknown if processor.piece_to_id(piece) == processor.unk_id() else piece for piece in found]

        return pieces
    if "vocab.txt" in files:
        words = BertWordPieceTokenizer(
            files["vocab.txt"],
            unk_token=str(converted.unk_token),
            lowercase=lower,
            strip_accents=settings.get("strip_accents"),
            handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        )
        return lambda line: list(words.encode(line, add_special_tokens=False).tokens)
    if "vocab.json" in files and "merges.txt" in files:
        parts = ByteLevelBPETokenizer(
            files["vocab.json"], files["merges.txt"], add_prefix_space=bool(settings.get("add_prefix_space", False))
        )
        return lambda line: list(parts.encode(line, add_special_tokens=False).tokens)
    return None


def _bare(line: str) -> str:
    """Without accents, and with plain quotation marks: what slow ALBERT and XLNet make of a text first."""
    marks = line.replace("``", '"').replace("''", '"')
    return "".join(letter for letter in unicodedata.normalize("NFKD", marks) if not unicodedata.combining(letter))


def _plain_lines(backend: Tokenizer) -> Iterator[str]:
    """The lines of the corpus that hold no added token, which the files know nothing of."""
    added = [str(token.content).lower() for token in backend.get_added_tokens_decoder().values()]
    return (line for line in corpus(backend) if not any(token in line.lower() for token in added))
