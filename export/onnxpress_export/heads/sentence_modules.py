"""sentence-transformers' modules behind the body, as torch modules that can be traced.

Each follows the formulas of sentence-transformers' own, on tensors instead of dictionaries of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from onnxpress.errors import CheckpointError
from onnxpress_export.checkpoint_files import find_file
from onnxpress_export.heads.sentence_files import ModuleFiles
from onnxpress_export.loading_errors import one_line

__all__ = ["Normalize", "Pooling", "make_module"]

_LEGACY: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""What an embedding is made of, before there was one name for it; in the order in which several are joined."""

_LEAST: Final = 1e-9
_SAFE, _PICKLE = "model.safetensors", "pytorch_model.bin"
_EMBEDDING: Final = "sentence_embedding"


class Pooling(torch.nn.Module):
    """Token features [batch, sequence, features] to one row a text, [batch, modes * features]; padding counts nowhere.

    Padding stands on either side, as the tokenizer has it.
    """

    def __init__(self, modes: tuple[str, ...], *, pads_left: bool) -> None:
        super().__init__()
        self._modes = modes
        self._pads_left = pads_left

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool `hidden` by `mask`, int64 [batch, sequence]."""
        return torch.cat([_POOLED[mode](hidden, mask, self._pads_left) for mode in self._modes], dim=-1)


class Normalize(torch.nn.Module):
    """Rows of length 1."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[batch, features], each divided by its length."""
        return torch.nn.functional.normalize(rows, p=2.0, dim=-1)


class _Dense(torch.nn.Module):
    """A linear layer, its activation, and its input beside them where it has a residual."""

    def __init__(self, settings: Mapping[str, Any], activation: torch.nn.Module) -> None:
        super().__init__()
        sizes = int(settings["in_features"]), int(settings["out_features"])
        self.linear = torch.nn.Linear(*sizes, bias=bool(settings.get("bias", True)))
        self.activation = activation
        self._adds = bool(settings.get("use_residual"))
        if self._adds and sizes[0] != sizes[1]:
            self.residual: torch.nn.Module = torch.nn.Linear(*sizes, bias=False)
        else:
            self.residual = torch.nn.Identity()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[batch, in] to [batch, out]."""
        found: torch.Tensor = self.activation(self.linear(rows))
        return found + self.residual(rows) if self._adds else found


class _Norm(torch.nn.Module):
    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(dimension)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[batch, features], each row normalized."""
        found: torch.Tensor = self.norm(rows)
        return found


def make_module(
    source: str, files: ModuleFiles, options: Mapping[str, Any], *, pads_left: bool, allow_pickle: bool
) -> torch.nn.Module:
    """The module that `files` describe, with its weights.

    Raises:
        CheckpointError: It is none that is known here, or its files do not fit each other.
    """
    with one_line(source, f"its module {files.path or files.kind} cannot be read"):
        if files.kind == "Pooling":
            return Pooling(_modes(source, files.settings), pads_left=pads_left)
        if files.kind == "Normalize":
            return Normalize()
        if files.kind == "Dense":
            _require_embedding(source, files)
            dense = _Dense(files.settings, _activation(source, files.settings))
            return _with_weights(source, dense, files, options, allow_pickle=allow_pickle)
        if files.kind == "LayerNorm":
            norm = _Norm(int(files.settings["dimension"]))
            return _with_weights(source, norm, files, options, allow_pickle=allow_pickle)
    raise CheckpointError(
        source,
        f"its module {files.kind} is none that a graph is made of here (Pooling, Dense, Normalize, LayerNorm). Train "
        "a head on a body with these.",
    )


def _modes(source: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    stated = settings.get("pooling_mode")
    if stated is None:
        modes = tuple(mode for name, mode in _LEGACY.items() if settings.get(name)) or ("mean",)
    else:
        modes = (stated,) if isinstance(stated, str) else tuple(stated)
    if unknown := next((mode for mode in modes if mode not in _POOLED), None):
        raise CheckpointError(source, f"pools tokens by {unknown!r}, which is not known ({', '.join(_POOLED)}).")
    return modes


def _require_embedding(source: str, files: ModuleFiles) -> None:
    if (name := files.settings.get("module_input_name") or _EMBEDDING) != _EMBEDDING:
        raise CheckpointError(source, f"its module {files.path} reads {name!r}; here one reads the embedding alone.")


def _activation(source: str, settings: Mapping[str, Any]) -> torch.nn.Module:
    """The class of torch that is named; none of a checkpoint's own."""
    name = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh"))
    found = getattr(torch.nn, name.rsplit(".", 1)[-1], None) if name.startswith("torch.") else None
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise CheckpointError(source, f"its dense module has the activation {name[:100]!r}, which is none of torch's.")
    return found()


def _with_weights(
    source: str, module: torch.nn.Module, files: ModuleFiles, options: Mapping[str, Any], *, allow_pickle: bool
) -> torch.nn.Module:
    if (path := find_file(source, f"{files.path}/{_SAFE}", options)) is not None:
        module.load_state_dict(load_file(path))
        return module
    path = find_file(source, f"{files.path}/{_PICKLE}", options)
    if path is None:
        raise CheckpointError(source, f"has no weights for its module {files.path} ({_SAFE}). Save the model again.")
    if not allow_pickle:
        raise CheckpointError(
            source,
            f"the weights of its module {files.path} ({_PICKLE}) are a pickle, which can run code when it is loaded. "
            "Save the model again with safetensors, or pass --allow-pickle if you trust it.",
        )
    module.load_state_dict(_load_tensors(path))
    return module


def _load_tensors(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def _first(hidden: torch.Tensor, mask: torch.Tensor, pads_left: bool) -> torch.Tensor:
    return _at(hidden, mask.argmax(-1)) if pads_left else hidden[:, 0]


def _last(hidden: torch.Tensor, mask: torch.Tensor, pads_left: bool) -> torch.Tensor:
    places = torch.arange(mask.shape[1], device=mask.device, dtype=torch.int32)
    return _at(hidden, (places * mask.to(torch.int32)).argmax(-1))


def _at(hidden: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), places]


def _max(hidden: torch.Tensor, mask: torch.Tensor, pads_left: bool) -> torch.Tensor:
    shown = mask.unsqueeze(-1).to(torch.bool)
    return hidden.masked_fill(~shown, torch.finfo(hidden.dtype).min).amax(dim=1)


def _mean(hidden: torch.Tensor, mask: torch.Tensor, pads_left: bool) -> torch.Tensor:
    total, count = _sums(hidden, mask.unsqueeze(-1).to(hidden.dtype))
    return total / count


def _mean_of_root(hidden: torch.Tensor, mask: torch.Tensor, pads_left: bool) -> torch.Tensor:
    total, count = _sums(hidden, mask.unsqueeze(-1).to(hidden.dtype))
    return total / torch.sqrt(count)


def _weighted_mean(hidden: torch.Tensor, mask: torch.Tensor, pads_left: bool) -> torch.Tensor:
    places = mask.to(torch.int64).cumsum(-1)  # 1 for a text's first token, wherever its padding stands
    total, count = _sums(hidden, (mask * places).unsqueeze(-1).to(hidden.dtype))
    return total / count


def _sums(hidden: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (hidden * weights).sum(1), weights.sum(1).clamp(min=_LEAST)


_POOLED: Final[dict[str, Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]]] = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_of_root,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
