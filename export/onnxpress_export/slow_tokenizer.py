"""A tokenizer that only its vocabulary files describe: is what transformers made of them right?

Asked of another implementation over the same files: the tokenizers library's own for WordPiece and byte-level BPE,
sentencepiece for its models. Special tokens around a text are not in these files; transformers' classes add them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer, ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from onnxpress.errors import CheckpointError
from onnxpress_export.loading_errors import one_line
from onnxpress_export.token_corpus import corpus

__all__ = ["SLOW_FILES", "check_converted"]

_SENTENCEPIECE: Final = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model")
SLOW_FILES: Final = ("vocab.txt", "vocab.json", "merges.txt", *_SENTENCEPIECE)

_Tokens = Callable[[str], Sequence[str]]


def check_converted(source: str, converted: PreTrainedTokenizerFast, files: Mapping[str, Path | None]) -> None:
    """Compare the tokens of `converted`, without special ones, with those that the files themselves give.

    Args:
        source: The checkpoint.
        converted: What transformers made.
        files: Where each of `SLOW_FILES` lies; None for those that are not there.

    Raises:
        CheckpointError: They differ, or nothing is known that could tell.
    """
    backend: Tokenizer = converted.backend_tokenizer
    with one_line(source, "its tokenizer's files cannot be read"):
        own = _own_tokens(converted, {name: str(path) for name, path in files.items() if path is not None})
    if own is None:
        raise CheckpointError(
            source,
            "has no tokenizer.json, and its slow form cannot be compared. Save a fast one beside it.",
        )
    for line in _plain_lines(backend):
        if backend.encode(line, add_special_tokens=False).tokens != list(own(line)):
            raise CheckpointError(
                source,
                f"has no tokenizer.json, and transformers' {type(converted).__name__} cuts {line[:40]!r} otherwise "
                "than its vocabulary files say. Save a fast tokenizer (tokenizer.json) beside the model.",
            )


def _own_tokens(converted: PreTrainedTokenizerFast, files: Mapping[str, str]) -> _Tokens | None:
    settings = converted.init_kwargs
    lower = bool(settings.get("do_lower_case", getattr(converted, "do_lower_case", False)))
    if model := next((files[name] for name in _SENTENCEPIECE if name in files), None):
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor(model_file=model)
        unknown = str(converted.unk_token)

        def pieces(line: str) -> list[str]:
            found: list[str] = processor.encode(line.lower() if lower else line, out_type=str)
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


def _plain_lines(backend: Tokenizer) -> Iterator[str]:
    """The lines of the corpus that hold no added token, which the files know nothing of."""
    added = [str(token.content).lower() for token in backend.get_added_tokens_decoder().values()]
    return (line for line in corpus(backend) if not any(token in line.lower() for token in added))
