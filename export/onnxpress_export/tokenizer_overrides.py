"""What tokenizer_config.json may change of tokenizer.json, as edits of its JSON object.

Casing, the space before a text, tokens added to the vocabulary, and the first and last special token are documented
settings of transformers' classes. Whether a class heeds each is its own affair, so the settings are apart here: each
edit changes what is stated, and gives back an equal object where nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from itertools import product
from typing import Any, Final

__all__ = ["Edit", "combinations", "with_all_but_framing"]

Json = Mapping[str, Any]
Edit = Callable[[Json, Json], dict[str, Any]]
"""From tokenizer.json's object and tokenizer_config.json's, a new object; neither is changed."""

_BERT_SETTINGS: Final = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def combinations(content: Json, settings: Json) -> Iterator[dict[str, Any]]:
    """`content` with the stated settings, first with all, last with none; each result once."""
    edits = (_framing, _casing, _prefix_space)
    seen: list[dict[str, Any]] = []
    for wanted in product((True, False), repeat=len(edits)):
        edited = dict(content)
        for edit, use in zip(edits, wanted, strict=True):
            edited = edit(edited, settings) if use else edited
        if edited not in seen:
            seen.append(edited)
            yield edited


def with_all_but_framing(content: Json, settings: Json) -> dict[str, Any]:
    """`content` with casing and prefix space as stated, and its own special tokens around a text."""
    return _prefix_space(_casing(content, settings), settings)


def _casing(content: Json, settings: Json) -> dict[str, Any]:
    """BERT's normalizer by its settings; of another, lower-casing is added or dropped."""
    normalizer = content.get("normalizer")
    stated = {ours: settings[theirs] for theirs, ours in _BERT_SETTINGS.items() if theirs in settings}
    if any(part["type"] == "BertNormalizer" for part in _parts(normalizer, "normalizers")):
        changed = _each(
            normalizer, "normalizers", lambda part: {**part, **stated} if part["type"] == "BertNormalizer" else part
        )
        return {**content, "normalizer": changed}
    lower = stated.get("lowercase")
    parts = _parts(normalizer, "normalizers")
    has = any(part["type"] == "Lowercase" for part in parts)
    if lower is None or bool(lower) == has:
        return dict(content)
    kept = [{"type": "Lowercase"}, *parts] if lower else [part for part in parts if part["type"] != "Lowercase"]
    return {**content, "normalizer": {"type": "Sequence", "normalizers": kept} if kept else None}


def _prefix_space(content: Json, settings: Json) -> dict[str, Any]:
    """The space before a text, of byte-level and SentencePiece pre-tokenizers and normalizers."""
    wanted = settings.get("add_prefix_space")
    if not isinstance(wanted, bool):
        return dict(content)

    def edit(part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] == "ByteLevel" and "add_prefix_space" in part:
            return {**part, "add_prefix_space": wanted}
        if part["type"] == "Metaspace":
            scheme = part.get("prepend_scheme", "always")
            return {**part, "prepend_scheme": (scheme if scheme != "never" else "always") if wanted else "never"}
        return part

    return {**content, "pre_tokenizer": _each(content.get("pre_tokenizer"), "pretokenizers", edit)}


def _framing(content: Json, settings: Json) -> dict[str, Any]:
    """The first and the last special token, where `add_bos_token` or `add_eos_token` is stated."""
    edited = copy(dict(content))
    for setting, name, first in (("add_bos_token", "bos_token", True), ("add_eos_token", "eos_token", False)):
        token = _named(settings.get(name))
        if isinstance(settings.get(setting), bool) and token is not None:
            edited["post_processor"] = _framed(edited, token, wanted=settings[setting], first=first)
    return edited


def _framed(content: Json, token: str, *, wanted: bool, first: bool) -> Any:
    """The post-processor of `content` whose templates begin, or end, with `token` just where it is `wanted`."""
    number = next((added["id"] for added in content.get("added_tokens", ()) if added["content"] == token), None)
    processor = content.get("post_processor")
    if number is None:
        return processor
    if processor is None and wanted:
        processor = _plain_template()

    def edit(part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] != "TemplateProcessing":
            return part
        special = part["special_tokens"]
        if wanted:
            special = {**special, token: {"id": token, "ids": [number], "tokens": [token]}}
        return {
            **part,
            "single": _template(part["single"], token, wanted, first),
            "pair": _pair_template(part["pair"], token, wanted, first),
            "special_tokens": special,
        }

    if wanted and not any(part["type"] == "TemplateProcessing" for part in _parts(processor, "processors")):
        processor = {"type": "Sequence", "processors": [*_parts(processor, "processors"), _plain_template()]}
    return _each(processor, "processors", edit)


def _plain_template() -> dict[str, Any]:
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {"type": "TemplateProcessing", "single": [a], "pair": [a, b], "special_tokens": {}}


def _template(pieces: list[Any], token: str, wanted: bool, first: bool) -> list[Any]:
    """`pieces`, around one text, with or without `token` at its first or last place."""
    place = 0 if first else -1
    holds = bool(pieces) and pieces[place].get("SpecialToken", {}).get("id") == token
    if holds == wanted:
        return pieces
    if not wanted:
        return pieces[1:] if first else pieces[:-1]
    kind = next(iter(pieces[place].values()))["type_id"]
    piece = {"SpecialToken": {"id": token, "type_id": kind}}
    return [piece, *pieces] if first else [*pieces, piece]


def _pair_template(pieces: list[Any], token: str, wanted: bool, first: bool) -> list[Any]:
    """As transformers frames a pair: each of its texts as a text alone."""
    cut = next((index for index, piece in enumerate(pieces) if piece.get("Sequence", {}).get("id") == "B"), len(pieces))
    while cut > 0 and "SpecialToken" in pieces[cut - 1] and pieces[cut - 1]["SpecialToken"]["type_id"] == 1:
        cut -= 1
    return [*_template(pieces[:cut], token, wanted, first), *_template(pieces[cut:], token, wanted, first)]


def _named(token: object) -> str | None:
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None


def _parts(value: Any, children: str) -> list[dict[str, Any]]:
    """`value` and what it holds, innermost first; a sequence itself is left out."""
    if value is None:
        return []
    if value["type"] == "Sequence":
        return [part for child in value[children] for part in _parts(child, children)]
    return [value]


def _each(value: Any, children: str, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """`value` with `edit` applied to it, or to all that a sequence holds."""
    if value is None:
        return None
    if value["type"] == "Sequence":
        return {**value, children: [_each(child, children, edit) for child in value[children]]}
    return edit(value)
