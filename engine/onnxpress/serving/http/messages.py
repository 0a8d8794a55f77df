"""What requests hold, and the texts in them: JSON as text-embeddings-inference and Hugging Face's clients write it."""

from __future__ import annotations

import json
from typing import Any, Final, Literal, NoReturn, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from onnxpress.inputs.texts import Text
from onnxpress.serving.http.refusal import Refusal

__all__ = [
    "FORMS",
    "ExplainRequest",
    "Parameters",
    "PredictRequest",
    "RerankRequest",
    "ZeroShotParameters",
    "ZeroShotRequest",
    "as_request",
    "brings_labels",
    "parse",
    "texts_of",
]

_Direction = Literal["left", "right", "Left", "Right"]
_Message = TypeVar("_Message")
FORMS: Final = 'a text, a pair ["…", "…"], or a batch [["…"], ["…", "…"], …]'


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of Hugging Face's text classification.

    Attributes:
        top_k: How many labels to give; None for all.
        function_to_apply: What makes scores of logits; None for what the artifact was exported with.
    """

    top_k: int | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")


class PredictRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be classified.

    Attributes:
        inputs: A text, a pair, or a batch of lists of one or two strings.
        truncate: Whether a text of too many tokens is cut; it is refused where this is false.
        truncation_direction: The side that is cut; None for the artifact's own.
        raw_scores: Whether to give the model's raw values.
        parameters: Where they are given, be they empty, one text is answered as Hugging Face's clients expect it: by a
            list of one list of labels.
    """

    inputs: str | list[str | list[str]]
    truncate: bool | None = None
    truncation_direction: _Direction | None = None
    raw_scores: bool = False
    parameters: Parameters | UnsetType | None = UNSET


class ZeroShotParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of Hugging Face's zero-shot classification.

    Attributes:
        candidate_labels: The labels to choose from; a string of them has commas between.
        hypothesis_template: The sentence that a label becomes, with {} in its place; None for "This example is {}.".
        multi_label: Whether each label is judged by itself, rather than against the others.
    """

    candidate_labels: str | list[str]
    hypothesis_template: str | None = None
    multi_label: bool | None = None


class ZeroShotRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be classified by labels that the request brings; `inputs` is a text, or several."""

    inputs: str | list[str]
    parameters: ZeroShotParameters


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A query, and the texts to rank for it.

    Attributes:
        return_text: Whether to give each text with its score.
    """

    query: str
    texts: list[str]
    truncate: bool | None = None
    truncation_direction: _Direction | None = None
    raw_scores: bool = False
    return_text: bool = False


class ExplainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A text or a pair, to be explained.

    Attributes:
        inputs: The text, or a list of the two of a pair.
        label: The label whose score is explained; None for the best one.
    """

    inputs: str | list[str | list[str]]
    label: str | None = None


def parse(body: bytes) -> Any:
    """The JSON of `body`.

    Python's own reader has the second word: it lets lone surrogates pass, which are the fault of a text, not of JSON.

    Raises:
        Refusal: It is none.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            words = f"the body is not JSON ({' '.join(str(error).split())[:200]}). Send a JSON object, as UTF-8."
            raise Refusal(400, "Validation", words) from None


def as_request(content: Any, kind: type[_Message]) -> _Message:
    """What `parse` gave, as `kind`. Raises Refusal where a field is absent, or of another type."""
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError, UnicodeEncodeError) as error:  # the last: a name in surrogates
        raise Refusal(422, "Validation", f"{error}. GET /openapi.json says what a request holds.") from None


def brings_labels(content: Any) -> bool:
    """Whether what `parse` gave is a `ZeroShotRequest`: its parameters name the labels."""
    parameters = content.get("parameters") if isinstance(content, dict) else None
    return isinstance(parameters, dict) and "candidate_labels" in parameters


def texts_of(inputs: str | list[str | list[str]]) -> tuple[list[Text], bool]:
    """The texts of `inputs`, and whether it is one text or pair alone.

    Raises:
        Refusal: There are none, or they are in no form that is known.
    """
    if isinstance(inputs, str):
        return [inputs], True
    if not inputs:
        raise Refusal(400, "Empty", f"inputs is empty. Send {FORMS}.")
    if isinstance(inputs[0], str):
        return [_as_text([part for part in inputs if isinstance(part, str)], len(inputs), "inputs")], True
    return [_as_text(_listed(item, index), len(item), f"text {index}") for index, item in enumerate(inputs)], False


def _listed(item: str | list[str], index: int) -> list[str]:
    if isinstance(item, str):
        raise Refusal(422, "Validation", f"text {index} is a string among lists. Send {FORMS}.")
    return item


def _as_text(strings: list[str], parts: int, what: str) -> Text:
    if len(strings) != parts or parts not in (1, 2):
        raise Refusal(422, "Validation", f"{what} is a list of {parts}, not of one or two strings. Send {FORMS}.")
    return strings[0] if parts == 1 else (strings[0], strings[1])


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
