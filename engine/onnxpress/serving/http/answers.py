"""Requests to answers, as text-embeddings-inference gives them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from onnxpress import __version__
from onnxpress.answers.predictions import activate, top_labels
from onnxpress.artifacts.manifest import Manifest
from onnxpress.errors import DeadlineExceededError, TooManyTokensError
from onnxpress.inputs.texts import Text
from onnxpress.serving.asynchronous import AsyncClassifier
from onnxpress.serving.http.arrival import Deadline
from onnxpress.serving.http.limits import Limits
from onnxpress.serving.http.messages import Parameters, PredictRequest, RerankRequest, ZeroShotRequest, texts_of
from onnxpress.serving.http.models import Model
from onnxpress.serving.http.refusal import Refusal
from onnxpress.tasks.zero_shot import TEMPLATE, split_labels

__all__ = ["describe_model", "predict", "require_taken", "rerank", "zero_shot"]


class _Cutting(Protocol):
    """A request that says what may be cut of its texts."""

    @property
    def truncate(self) -> bool | None: ...
    @property
    def truncation_direction(self) -> str | None: ...


_DTYPES = {"fp32": "float32", "fp16": "float16"}


async def predict(model: Model, request: PredictRequest, limits: Limits, deadline: Deadline) -> list[Any]:
    """All labels of a text or a pair with their scores, best first; of a batch, a list of these.

    With `parameters` one text is answered by a list of one such list.

    Raises:
        Refusal: There are no texts, too many, or they are in no known form.
        TextError: A text cannot be classified; none is.
        OverloadedError: Too much waits.
        DeadlineExceededError: There was no answer in time.
    """
    texts, alone = texts_of(request.inputs)
    logits = await _logits(model, texts, request, limits, deadline)
    parameters = request.parameters or Parameters()
    scores = _scores(model, logits, parameters, raw=request.raw_scores)
    count = parameters.top_k or len(model.manifest.labels)
    ranked = [
        [{"score": best.score, "label": best.label} for best in row]
        for row in top_labels(scores, model.manifest.labels, count)
    ]
    return ranked[0] if alone and request.parameters is UNSET else ranked


async def zero_shot(model: Model, request: ZeroShotRequest, limits: Limits, deadline: Deadline) -> list[Any]:
    """The request's labels of a text with their scores, best first; of several texts, a list of these.

    Raises as `predict`; each pair of a text and a label counts as a text.

    Raises:
        ConfigError: The model is not made for it, or the labels or the template cannot be used.
    """
    if not request.inputs:
        raise Refusal(400, "Empty", "inputs is empty. Send a text, or a list of texts.")
    parameters = request.parameters
    labels = split_labels(parameters.candidate_labels)
    texts = 1 if isinstance(request.inputs, str) else len(request.inputs)
    _require_few(texts * len(labels), limits)
    found = await _labelling(model).zero_shot(
        [request.inputs] if isinstance(request.inputs, str) else request.inputs,
        labels,
        template=TEMPLATE if parameters.hypothesis_template is None else parameters.hypothesis_template,
        multi_label=bool(parameters.multi_label),
        timeout=deadline.remaining(),
    )
    rows = [
        [{"label": label, "score": score} for label, score in zip(one.labels, one.scores, strict=True)] for one in found
    ]
    return rows[0] if isinstance(request.inputs, str) else rows


async def rerank(model: Model, request: RerankRequest, limits: Limits, deadline: Deadline) -> list[dict[str, Any]]:
    """The texts by their scores, best first: a sigmoid of the model's one value, or with `raw_scores` that itself.

    Raises as `predict`.

    Raises:
        Refusal: The model has several labels.
    """
    if not request.texts:
        raise Refusal(400, "Empty", "texts is empty. Send what is to be ranked.")
    _labelling(model)
    if (labels := len(model.manifest.labels)) != 1:
        words = f"{model.name} is not a re-ranker model: it has {labels} labels, not one. Ask /predict."
        raise Refusal(424, "Backend", words)
    logits = await _logits(model, [(request.query, text) for text in request.texts], request, limits, deadline)
    divided = logits / np.float32(model.manifest.temperature)
    scores = (logits if request.raw_scores else activate(divided, "sigmoid"))[:, 0]
    ranks = [
        {"index": index, "text": request.texts[index], "score": float(scores[index])}
        for index in np.argsort(-scores, kind="stable").tolist()
    ]
    return ranks if request.return_text else [{"index": rank["index"], "score": rank["score"]} for rank in ranks]


def describe_model(model: Model, limits: Limits) -> dict[str, Any]:
    """What /info says, in the fields of text-embeddings-inference."""
    manifest, classifier = model.manifest, model.classifier
    labels = {
        "id2label": {str(index): label for index, label in enumerate(manifest.labels)},
        "label2id": {label: index for index, label in enumerate(manifest.labels)},
    }
    return {
        "model_id": manifest.provenance.source,
        "model_sha": None,
        "model_dtype": _DTYPES.get(classifier.precision, classifier.precision),
        "served_model_name": model.name,
        "model_type": {_kind(manifest): labels},
        "max_concurrent_requests": limits.max_requests,
        "max_input_length": manifest.max_length,
        "max_batch_tokens": classifier.max_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": limits.max_texts,
        "auto_truncate": True,
        "tokenization_workers": classifier.workers,
        "version": __version__,
        "sha": None,
        "docker_label": None,
    }


async def require_taken(
    model: Model, texts: Sequence[Text], request: _Cutting, limits: Limits, deadline: Deadline
) -> None:
    """Raise what is wrong with so many texts, or with one that the model would not read whole where it must."""
    _require_few(len(texts), limits)
    own = model.manifest.truncation_side
    other = request.truncation_direction is not None and request.truncation_direction.lower() != own
    try:
        if request.truncate is False or other:
            way_out = f"This artifact cuts the {own} side." if other else "Shorten it, or send truncate: true."
            async with asyncio.timeout(deadline.remaining()):
                await asyncio.to_thread(_require_whole, model, texts, way_out)
    except TimeoutError:
        raise DeadlineExceededError(deadline.seconds) from None


def _kind(manifest: Manifest) -> str:
    if manifest.task == "token-classification":
        return "token_classifier"
    return "reranker" if len(manifest.labels) == 1 else "classifier"


def _labelling(model: Model) -> AsyncClassifier:
    """The service of a model that labels texts. Raises Refusal where it labels their tokens."""
    if not isinstance(model.service, AsyncClassifier):
        raise Refusal(424, "Backend", f"{model.name} labels the tokens of a text. Ask /predict.")
    return model.service


def _scores(model: Model, logits: NDArray[np.float32], parameters: Parameters, *, raw: bool) -> NDArray[np.float32]:
    """What is asked for of `logits`; a function that the request names is applied to these as they are."""
    if parameters.function_to_apply is None:
        return logits if raw else model.classifier.decision.scores(logits)
    return logits if parameters.function_to_apply == "none" else activate(logits, parameters.function_to_apply)


async def _logits(
    model: Model, texts: Sequence[Text], request: PredictRequest | RerankRequest, limits: Limits, deadline: Deadline
) -> NDArray[np.float32]:
    """float32 [texts, labels], as long as they are of use."""
    service = _labelling(model)
    await require_taken(model, texts, request, limits, deadline)
    return await service.logits(texts, timeout=deadline.remaining())


def _require_few(texts: int, limits: Limits) -> None:
    if texts > limits.max_texts:
        words = f"batch size {texts:,} > maximum allowed batch size {limits.max_texts:,}. Send it in parts."
        raise Refusal(422, "Validation", words)


def _require_whole(model: Model, texts: Sequence[Text], way_out: str) -> None:
    """Raise TooManyTokensError for the first text that the model would not read whole."""
    limit = model.manifest.max_length
    for index in np.flatnonzero(model.classifier.count_tokens(texts) > limit).tolist():
        raise TooManyTokensError(index, limit, way_out)
