"""What the logits of a checkpoint mean, and what makes scores of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final, get_args

from onnxpress.artifacts.manifest import Activation, ProblemType
from onnxpress.errors import CheckpointError, ConfigError

__all__ = ["activation", "problem_type", "store_activation"]

_OF_PROBLEM: Final[dict[ProblemType, Activation]] = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "identity",
}
# The class that sentence-transformers names, without its module.
_STORED: Final[dict[str, Activation]] = {"Identity": "identity", "Sigmoid": "sigmoid", "Softmax": "softmax"}


def problem_type(source: str, config: Any, labels: int, asked: str | None) -> ProblemType:
    """As asked, else as stated, else as transformers' pipeline reads it: one label alone is a probability.

    Raises:
        ConfigError: What is asked for is no problem type.
        CheckpointError: What config.json states is none.
    """
    known = get_args(ProblemType)
    if asked is not None and asked not in known:
        raise ConfigError(f"problem_type must be {' or '.join(known)}, got {asked!r}")
    stated = asked or getattr(config, "problem_type", None)
    if stated is not None and stated not in known:
        raise CheckpointError(
            source, f"problem_type in config.json is {stated!r}. Pass --problem-type with one of {', '.join(known)}."
        )
    if stated is not None:
        found: Any = stated
        return found  # type: ignore[no-any-return]  # one of the literal's values
    return "multi_label_classification" if labels == 1 else "single_label_classification"


def activation(source: str, config: Any, problem: ProblemType, asked: str | None, *, problem_asked: bool) -> Activation:
    """As asked, else what a problem asked for brings, else as sentence-transformers stored it, else the problem's.

    Raises:
        ConfigError: What is asked for is no activation.
        CheckpointError: The stored one is none that the engine has.
    """
    known = get_args(Activation)
    if asked is not None:
        if asked not in known:
            raise ConfigError(f"activation must be {' or '.join(known)}, got {asked!r}")
        chosen: Activation = asked  # type: ignore[assignment]  # one of the literal's values
        return chosen
    stored = None if problem_asked else _stored(config)
    if stored is None:
        return _OF_PROBLEM[problem]
    if (found := _STORED.get(stored.rsplit(".", 1)[-1])) is None:
        raise CheckpointError(
            source,
            f"config.json stores the activation {stored[:100]!r}, which the engine does not have. "
            f"Pass --activation with one of {', '.join(known)}.",
        )
    return found


def store_activation(config: dict[str, Any], activation: Activation, labels: int) -> None:
    """Let sentence-transformers find `activation` in `config`, where it would take another.

    Where a config.json stores none, it takes a sigmoid of one label, and gives the logits of several; the latter is
    left so, for its users pass what makes scores of them.
    """
    stored = _stored(SimpleNamespace(**config))
    taken = None if stored is None else _STORED.get(stored.rsplit(".", 1)[-1])
    if taken == activation or (taken is None and labels > 1):
        return
    if taken is None and activation == "sigmoid":
        return
    (name,) = [name for name, known in _STORED.items() if known == activation]
    kind = "torch.nn.modules.linear" if name == "Identity" else "torch.nn.modules.activation"
    config.pop("sbert_ce_default_activation_function", None)
    config["sentence_transformers"] = {**(config.get("sentence_transformers") or {}), "activation_fn": f"{kind}.{name}"}


def _stored(config: Any) -> str | None:
    """What sentence-transformers wrote into config.json, from its version 4 on and before."""
    settings = getattr(config, "sentence_transformers", None)
    newer = settings.get("activation_fn") if isinstance(settings, dict) else None
    older = getattr(config, "sbert_ce_default_activation_function", None)
    return next((value for value in (newer, older) if isinstance(value, str) and value), None)
