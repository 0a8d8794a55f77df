"""Mixtures of experts: every expert's products for all tokens, weighted by the router."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from onnxpress_export.attention._forward import replaced_forward

__all__ = ["dense_experts"]


@contextmanager
def dense_experts(model: torch.nn.Module) -> Iterator[None]:
    """Within the block, the experts of `model` compute all tokens, and those not chosen for a token count 0.

    transformers sorts tokens by their experts and multiplies them in groups, for which ONNX has no operator. Exact:
    a token's sum over its experts, and zeros. It costs the products of all experts instead of the chosen ones.
    """
    with ExitStack() as stack:
        for module in model.modules():
            if hasattr(module, "_is_expert_parallel") and hasattr(module, "down_proj"):
                stack.enter_context(replaced_forward(module, _forward))
        yield


def _forward(module: Any, **arguments: torch.Tensor) -> torch.Tensor:
    """Hidden states, [tokens, features], to the same, by each token's experts and their weights, [tokens, chosen].

    The arguments come in this order, and have other names in each architecture.
    """
    hidden_states, top_k_index, top_k_weights = arguments.values()
    experts = torch.arange(module.down_proj.shape[0])
    chosen = (top_k_index[..., None] == experts).to(top_k_weights.dtype)
    weights = (chosen * top_k_weights[..., None]).sum(1)  # [tokens, experts]
    first = "gate_up_proj" if module.has_gate else "up_proj"
    inner = _product(module, hidden_states[None], first)
    inner = module._apply_gate(inner) if module.has_gate else module.act_fn(inner)
    outer = _product(module, inner, "down_proj")
    if module.has_post_expert_norm:
        outer = module.post_expert_norm(outer)
    total: torch.Tensor = (outer * weights.transpose(0, 1)[..., None]).sum(0)
    return total.to(hidden_states.dtype)


def _product(module: Any, hidden: torch.Tensor, name: str) -> torch.Tensor:
    """Of all experts: [experts or 1, tokens, features in] to [experts, tokens, features out]."""
    weight = getattr(module, name)
    product: torch.Tensor = hidden @ (weight if module.is_transposed else weight.transpose(1, 2))
    return product + getattr(module, f"{name}_bias")[:, None] if module.has_bias else product
