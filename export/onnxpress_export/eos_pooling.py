"""Classifiers that read their answer at the last eos token of a text: BART, T5 and their kin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from onnxpress_export.model_inputs import ending_token

__all__ = ["traceable_eos_pooling"]


@contextmanager
def traceable_eos_pooling(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the head of `model` takes each row's last eos token in a way that can be traced.

    transformers picks all eos tokens with a mask of booleans, whose count torch cannot know while it traces, checks
    that all rows have as many, and keeps each row's last. Exact: the last one is found by its place. mBART's own
    squeeze() would also drop the batch where it holds one row; only dimensions that are always 1 go.
    """
    if ending_token(model) is None:
        yield
        return
    with _LastTrueOfEachRow():
        yield


class _LastTrueOfEachRow(TorchFunctionMode):
    """hidden[mask, :] as the last that each row of the mask shows, [batch, features]; all counts pass as one."""

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function is torch.Tensor.__getitem__ and _is_row_mask(*args):
            hidden, (mask, _) = args
            places = torch.arange(mask.shape[1]) * mask.to(torch.int64)
            return hidden[torch.arange(mask.shape[0]), places.argmax(-1)]
        if function in (torch.unique_consecutive, torch.Tensor.unique_consecutive):
            return args[0][:1]
        if function is torch.Tensor.squeeze and len(args) == 1 and not kwargs:
            alone = [axis for axis, size in enumerate(args[0].shape) if isinstance(size, int) and size == 1]
            return args[0].squeeze(alone)
        return function(*args, **(kwargs or {}))


def _is_row_mask(value: Any, index: Any) -> bool:
    return (
        isinstance(index, tuple)
        and len(index) == 2
        and isinstance(index[0], torch.Tensor)
        and index[0].dtype == torch.bool
        and index[0].dim() == 2
        and index[1] == slice(None)
        and value.dim() == 3
    )
