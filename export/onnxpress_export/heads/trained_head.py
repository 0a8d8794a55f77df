"""SetFit's heads, scikit-learn's classifiers or its own torch module, as one linear layer with the same probabilities.

A pickle is opened by the caller's leave alone: it can run whatever code it holds.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from onnxpress.errors import CheckpointError
from onnxpress.extras import require
from onnxpress_export.loading_errors import one_line

__all__ = ["TrainedHead", "read_head"]

_KNOWN: Final = "LogisticRegression, OneVsRestClassifier and MultiOutputClassifier of it, and SetFitHead"
_CERTAIN: Final = 50.0
"""The logit of a label that was never, or always, there in training: its probability is 0 or 1 in fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedHead:
    """A linear layer on embeddings.

    Attributes:
        weight: float32 [labels, features].
        bias: float32 [labels].
        multi_label: Whether each label has a probability of its own: the logits' sigmoid, not their softmax.
        one_vs_rest: Whether logits are turned into the logarithms of their sigmoids, whose softmax is what
            scikit-learn calls one-vs-rest probabilities: sigmoids divided by their sum.
        classes: What the head was trained to say, one a label.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    multi_label: bool
    one_vs_rest: bool
    classes: tuple[object, ...]


def read_head(source: str, path: Path, *, multi_label: bool, allow_pickle: bool) -> TrainedHead:
    """The head in the file `path`; `multi_label` is what is said beside a file of tensors alone.

    Raises:
        CheckpointError: It is a pickle without leave, cannot be read, or is no linear classifier that is known here.
        MissingDependencyError: It is scikit-learn's, and that is not installed.
    """
    if path.suffix == ".safetensors":
        with one_line(source, f"its {path.name} cannot be read"):
            tensors = load_file(path)
            return _of_tensors(tensors["linear.weight"], tensors.get("linear.bias"), 1.0, multi_label=multi_label)
    if not allow_pickle:
        raise CheckpointError(
            source,
            f"its head ({path.name}) is a pickle, which can run code when it is loaded. Pass --allow-pickle if you "
            "trust it.",
        )
    require(("joblib", "sklearn"), extra="setfit")
    import joblib

    with one_line(source, f"its {path.name} cannot be loaded"), _known_to_pickle(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of another version of scikit-learn, which changes no coefficient
        head = joblib.load(path)
    with one_line(source, f"its head ({type(head).__name__}) is not as it was fitted"):
        return _of_torch(head) if isinstance(head, torch.nn.Module) else _of_scikit(source, head)


def _of_scikit(source: str, head: Any) -> TrainedHead:
    kind = type(head).__name__
    if kind in ("LogisticRegression", "LogisticRegressionCV"):
        return _of_regression(head)
    if kind == "OneVsRestClassifier":
        return _of_one_vs_rest(source, head)
    if kind == "MultiOutputClassifier":
        for estimator in head.estimators_:
            if len(estimator.classes_) != 2:
                raise CheckpointError(
                    source,
                    f"its MultiOutputClassifier has an output of {len(estimator.classes_)} classes; here each is a "
                    "label that is there or not.",
                )
        return _of_binaries(source, head.estimators_, range(len(head.estimators_)), multi_label=True)
    raise CheckpointError(
        source,
        f"its head is a {kind}, which is no linear classifier that is known here ({_KNOWN}). Train one of these on it.",
    )


def _of_regression(head: Any) -> TrainedHead:
    weight, bias, classes = _rows(head.coef_), _rows(head.intercept_)[:, 0], tuple(head.classes_.tolist())
    bias = np.broadcast_to(bias, len(weight))
    stated = getattr(head, "multi_class", "auto")
    if len(classes) == 2:
        # The one row's sigmoid is the second label's probability: softmax of two rows that differ by it. Older
        # versions could be told to take the row and its negative as they are, which differ by twice as much.
        part = 1.0 if stated == "multinomial" else 0.5
        weight, bias = np.concatenate([-part * weight, part * weight]), np.concatenate([-part * bias, part * bias])
    apart = len(classes) > 2 and (stated == "ovr" or (stated != "multinomial" and head.solver == "liblinear"))
    return _head(weight, bias, classes, one_vs_rest=apart)


def _of_one_vs_rest(source: str, head: Any) -> TrainedHead:
    classes = tuple(np.asarray(head.classes_).tolist())
    if head.multilabel_:
        return _of_binaries(source, head.estimators_, classes, multi_label=True)
    if len(head.estimators_) == 1:  # of two classes
        found = _of_binaries(source, head.estimators_, classes[1:], multi_label=False)
        weight, bias = found.weight, found.bias
        return _head(np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2, classes)
    return _of_binaries(source, head.estimators_, classes, multi_label=False)


def _of_binaries(
    source: str, estimators: Sequence[Any], classes: Sequence[object], *, multi_label: bool
) -> TrainedHead:
    """A row a label; the estimators tell whether it is there."""
    features = next((one.coef_.shape[-1] for one in estimators if hasattr(one, "coef_")), None)
    weights, biases = [], []
    for one in estimators:
        kind = type(one).__name__
        if kind == "_ConstantPredictor" and features is not None:
            weights.append(np.zeros(features))
            biases.append(_CERTAIN if bool(np.all(one.y_)) else -_CERTAIN)
        elif kind in ("LogisticRegression", "LogisticRegressionCV"):
            weights.append(_rows(one.coef_)[0])
            biases.append(float(np.ravel(one.intercept_)[0]))
        else:
            raise CheckpointError(
                source, f"its head is made of {kind}, which is no linear classifier that is known here ({_KNOWN})."
            )
    return _head(
        np.stack(weights), np.array(biases), tuple(classes), multi_label=multi_label, one_vs_rest=not multi_label
    )


def _of_torch(head: torch.nn.Module) -> TrainedHead:
    """SetFitHead: a linear layer, divided by its temperature."""
    told: Any = head
    linear = told.linear
    temperature = float(getattr(told, "temperature", 1.0)) + float(getattr(told, "eps", 1e-5))
    return _of_tensors(linear.weight, linear.bias, temperature, multi_label=bool(getattr(told, "multitarget", False)))


def _of_tensors(
    weight: torch.Tensor, bias: torch.Tensor | None, temperature: float, *, multi_label: bool
) -> TrainedHead:
    rows = weight.detach().cpu().double().numpy() / temperature
    offset = np.zeros(len(rows)) if bias is None else bias.detach().cpu().double().numpy() / temperature
    return _head(rows, offset, tuple(range(len(rows))), multi_label=multi_label)


def _head(
    weight: NDArray[Any],
    bias: NDArray[Any],
    classes: tuple[object, ...],
    *,
    multi_label: bool = False,
    one_vs_rest: bool = False,
) -> TrainedHead:
    return TrainedHead(
        weight=np.ascontiguousarray(weight, dtype=np.float32),
        bias=np.ascontiguousarray(bias, dtype=np.float32),
        multi_label=multi_label,
        one_vs_rest=one_vs_rest,
        classes=classes,
    )


def _rows(values: Any) -> NDArray[np.float64]:
    found = np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)
    return found.reshape(len(found), -1) if found.ndim else found.reshape(1, 1)


class _SetFitHead(torch.nn.Module):
    """Stands for SetFit's class while its pickle is read: what it holds is in attributes."""


@contextmanager
def _known_to_pickle() -> Iterator[None]:
    """Within the block, a pickle finds SetFit's head without SetFit."""
    package, module = types.ModuleType("setfit"), types.ModuleType("setfit.modeling")
    setattr(module, "SetFitHead", _SetFitHead)  # noqa: B010 - a module type has no such attribute to a type checker
    names: Mapping[str, types.ModuleType] = {"setfit": package, "setfit.modeling": module}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name, found in before.items():
            if found is None:
                del sys.modules[name]
            else:
                sys.modules[name] = found
