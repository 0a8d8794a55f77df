"""The tokenizer of a checkpoint: its own tokenizer.json, whatever a library makes of it.

transformers 5 builds a tokenizer anew from the class that tokenizer_config.json names, and takes little more than the
vocabulary from tokenizer.json: another pre-tokenizer, normalizer or frame of special tokens is lost without a word. So
tokenizer.json is followed, with the settings of tokenizer_config.json that transformers heeds. Where only a slow form
exists, transformers converts it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from onnxpress.errors import CheckpointError
from onnxpress_export.checkpoint_files import find_file, read_object
from onnxpress_export.loading_errors import one_line
from onnxpress_export.slow_tokenizer import SLOW_FILES, agreeing
from onnxpress_export.token_corpus import corpus
from onnxpress_export.token_ids import same_ids
from onnxpress_export.tokenizer_overrides import combinations, with_all_but_framing

__all__ = ["OwnTokenizer", "load_tokenizer"]

_FAST: Final[Literal["tokenizer.json"]] = "tokenizer.json"
_SETTINGS: Final = "tokenizer_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTokenizer:
    """A checkpoint's tokenizer.

    Attributes:
        tokenizer: In transformers' hands, of its general class.
        reference: What its ids are proved against, as the text of a tokenizer.json: the checkpoint's own file with its
            stated settings; or what was converted.
        form: "tokenizer.json", or "slow" where it was converted.
        rebuilt: The name of transformers' class whose ids differ, and which is not followed; None where none does.
    """

    tokenizer: PreTrainedTokenizerFast
    reference: str
    form: Literal["tokenizer.json", "slow"]
    rebuilt: str | None


def load_tokenizer(source: str, options: Mapping[str, Any]) -> OwnTokenizer:
    """Load the tokenizer of the directory or Hub id `source`; `options` are transformers' own.

    Raises:
        CheckpointError: There is none, it cannot be read, a package is missing, or converting it changes ids.
    """
    path = find_file(source, _FAST, options)
    theirs: Any = None
    with one_line(source, "transformers cannot load its tokenizer"):
        try:
            theirs = AutoTokenizer.from_pretrained(source, **options)
        except Exception as error:
            if path is None or "trust_remote_code" in str(error):
                raise
            logging.getLogger(__name__).debug("tokenizer.json alone is followed: %s", error)
    if path is None:
        return _converted(source, theirs, options)
    with one_line(source, f"its {_FAST} cannot be read"):
        content = json.loads(path.read_text(encoding="utf-8"))
        Tokenizer.from_str(json.dumps(content))
    settings = read_object(source, _SETTINGS, options)
    if settings.get("split_special_tokens"):
        raise CheckpointError(
            source,
            f"split_special_tokens in {_SETTINGS} is not kept by {_FAST}, which the engine reads. Set it to false.",
        )
    with one_line(source, f"its {_SETTINGS} does not fit its {_FAST}"):
        general = PreTrainedTokenizerFast.from_pretrained(source, **options)
        content = {**content, "truncation": None, "padding": None}
        chosen, agreed = _choose(content, general, theirs, settings)
        rebuilt = None if agreed or theirs is None else type(theirs).__name__
        return OwnTokenizer(
            tokenizer=_general(chosen, theirs if agreed else general, general, settings),
            reference=chosen,
            form=_FAST,
            rebuilt=rebuilt,
        )


def _choose(
    content: dict[str, Any], general: PreTrainedTokenizerFast, theirs: Any, settings: Mapping[str, Any]
) -> tuple[str, bool]:
    """tokenizer.json's object with as many stated settings as give `theirs`, and whether there is such a one.

    Where `theirs` is of no use, with the settings of casing, prefix space and added tokens.
    """
    added = json.loads(general.backend_tokenizer.to_str())["added_tokens"]
    bases = [{**content, "added_tokens": added}, content]
    if isinstance(theirs, PreTrainedTokenizerFast):
        rebuilt = _bare(theirs.backend_tokenizer.to_str())
        if content.get("post_processor") is None and not rebuilt.num_special_tokens_to_add(is_pair=False):
            rebuilt.post_processor = None  # transformers makes one up, which frames nothing
        lines = corpus(Tokenizer.from_str(json.dumps(bases[0])))
        for base in bases[: 1 if added == content["added_tokens"] else 2]:
            for candidate in combinations(base, settings):
                text = json.dumps(candidate, ensure_ascii=False)
                if same_ids(Tokenizer.from_str(text), rebuilt, lines):
                    return text, True
    chosen = json.dumps(with_all_but_framing(bases[0], settings), ensure_ascii=False)
    return chosen, False


def _converted(source: str, theirs: Any, options: Mapping[str, Any]) -> OwnTokenizer:
    if not isinstance(theirs, PreTrainedTokenizerFast):
        raise CheckpointError(
            source,
            f"{type(theirs).__name__} is a slow tokenizer, and transformers has no fast form of it. Save a fast one "
            f"({_FAST}) beside the model.",
        )
    if set(theirs.get_vocab()) <= set(theirs.all_special_tokens):  # what transformers makes of missing files
        raise CheckpointError(source, "has no tokenizer. Save it beside the model (tokenizer.save_pretrained).")
    backend = agreeing(source, theirs, {name: find_file(source, name, options) for name in SLOW_FILES})
    text = _bare(backend.to_str()).to_str()
    rebuilt = None if backend is theirs.backend_tokenizer else type(theirs).__name__
    return OwnTokenizer(tokenizer=_general(text, theirs, theirs, {}), reference=text, form="slow", rebuilt=rebuilt)


def _general(
    content: str, shown: Any, general: PreTrainedTokenizerFast, settings: Mapping[str, Any]
) -> PreTrainedTokenizerFast:
    """Transformers' general class over the tokenizer.json `content`, which it reads as it is wherever it is loaded.

    It names the special tokens of `shown`, and the limits and sides that the files state.
    """
    backend = Tokenizer.from_str(content)
    known = backend.get_vocab(with_added_tokens=True)
    names = {**shown.special_tokens_map, **general.special_tokens_map}
    special = {name: str(token) for name, token in names.items() if isinstance(token, str) and token in known}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=general.model_max_length,
        padding_side=shown.padding_side,
        truncation_side=shown.truncation_side,
        model_input_names=list(settings.get("model_input_names") or shown.model_input_names),
        clean_up_tokenization_spaces=False,
        **special,
    )
    tokenizer.backend_tokenizer.post_processor = backend.post_processor  # it makes one up where there is none
    return tokenizer


def _bare(content: str) -> Tokenizer:
    """The tokenizer of the text of a tokenizer.json, without the truncation and padding that it may hold."""
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
