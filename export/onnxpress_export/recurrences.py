"""Layers that walk over a text token by token, or block by block, as one operator for any length."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from onnxpress_export.attention._forward import replaced_forward
from onnxpress_export.model_code import code_of

__all__ = ["traceable_recurrences"]

_LIGHTNING: Final = "MiniMaxLightningAttention"


@contextmanager
def traceable_recurrences(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the recurrences of `model` can be traced for any number of tokens.

    transformers writes them as loops in Python, which a trace unrolls for one length. Here a step is a function of the
    state and of one token, that ONNX's Scan applies to all tokens in order: the same sums as of the one-token form.
    """
    with ExitStack() as stack:
        for code in code_of(model):
            for name in vars(code).keys() & _INSTEAD.keys():
                stack.enter_context(patch.object(code, name, _INSTEAD[name]))
        for module in model.modules():
            if type(module).__name__ == _LIGHTNING:
                stack.enter_context(replaced_forward(module, _lightning_attention))
        yield


def _scanned(
    step: Callable[..., tuple[torch.Tensor, torch.Tensor]], state: torch.Tensor, tokens: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The last state, and what `step` gives for each token; `tokens` and that are [sequence, …]."""
    from torch._higher_order_ops.scan import scan  # a prototype of torch's, which only such models need

    found: tuple[torch.Tensor, torch.Tensor] = scan(step, state, tokens)
    return found


def _gated_delta_rule(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor,
    use_qk_l2norm_in_kernel: bool = False,
    **_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gated delta rule of Qwen3-Next, from an empty state: [batch, sequence, value heads, value size].

    Query and key are [batch, sequence, key heads, key size]; the logarithm `g` of what a state keeps, and the share
    `beta` of its correction, [batch, sequence, value heads].
    """
    batch, heads = value.shape[0], value.shape[2]
    query, key = (each.repeat_interleave(heads // each.shape[2], dim=2).float() for each in (query, key))
    if use_qk_l2norm_in_kernel:
        query, key = (each * torch.rsqrt((each * each).sum(-1, keepdim=True) + 1e-6) for each in (query, key))
    query = query * query.shape[-1] ** -0.5

    def step(state: torch.Tensor, token: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        asked, name, content, kept, share = token
        state = state * kept[..., None, None]
        known = (state * name.unsqueeze(-1)).sum(-2)
        state = state + name.unsqueeze(-1) * ((content - known) * share.unsqueeze(-1)).unsqueeze(-2)
        return state, (state * asked.unsqueeze(-1)).sum(-2)

    state = value.new_zeros(batch, heads, key.shape[-1], value.shape[-1], dtype=torch.float32)
    tokens = tuple(each.float().transpose(0, 1) for each in (query, key, value, g.float().exp(), beta))
    state, answers = _scanned(step, state, tokens)
    return answers.transpose(0, 1).to(value.dtype), state


def _selective_scan(
    hidden_states: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    **_: object,
) -> Any:
    """Mamba's selective scan, from an empty state: [batch, features, sequence], as `hidden_states` and the steps `dt`.

    What a state keeps is A, [features, states]; what it takes and gives are B and C, [batch, states, sequence].
    """
    if delta_bias is not None:
        dt = dt + delta_bias.to(dt.dtype)[..., None]
    if delta_softplus:
        dt = functional.softplus(dt)

    def step(state: torch.Tensor, token: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        kept, taken, given = token
        state = kept * state + taken
        return state, (state * given.unsqueeze(1)).sum(-1)

    steps = dt.permute(2, 0, 1)  # [sequence, batch, features]
    kept = torch.exp(A * steps.unsqueeze(-1))
    taken = (steps * hidden_states.permute(2, 0, 1)).unsqueeze(-1) * B.permute(2, 0, 1).unsqueeze(2)
    state = hidden_states.new_zeros(*hidden_states.shape[:2], A.shape[-1])
    state, answers = _scanned(step, state, (kept, taken, C.permute(2, 0, 1)))
    output = answers.permute(1, 2, 0)
    if D is not None:
        output = output + hidden_states * D[None, :, None]
    if z is not None:
        output = output * functional.silu(z)
    return (output, state) if return_last_state else output


_INSTEAD: Final = MappingProxyType(
    {"torch_chunk_gated_delta_rule": _gated_delta_rule, "mamba_selective_scan": _selective_scan}
)
"""By the name that an architecture's own code calls."""


def _lightning_attention(
    module: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: object
) -> tuple[torch.Tensor, None]:
    """MiniMax's linear attention, written as its definition: scores without a softmax, that fade with the distance.

    transformers computes it by blocks; a block as long as the text gives this.
    """
    batch, sequence, _features = hidden_states.shape
    projected = module.act_fn(module.qkv_proj(hidden_states))
    projected = sys.modules[type(module).__module__].apply_mask_to_padding_states(projected, attention_mask)
    apart = projected.reshape(batch, sequence, module.num_attention_heads, 3 * module.head_dim)
    query, key, value = (part.transpose(1, 2) for part in apart.split(module.head_dim, dim=3))
    places = torch.arange(sequence)
    distance = places[:, None] - places[None, :]
    fading = torch.where(distance >= 0, torch.exp(-module.slope_rate * distance.clamp(min=0)), 0.0)
    attended = torch.matmul(torch.matmul(query, key.transpose(2, 3)) * fading, value)
    merged = module.norm(attended.transpose(1, 2).reshape(batch, sequence, -1))
    return module.out_proj(torch.sigmoid(module.output_gate(hidden_states)) * merged), None
