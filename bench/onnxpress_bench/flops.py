"""Arithmetic that texts take in a model, for the roofline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["encoder_flops"]


def encoder_flops(config: Mapping[str, Any], tokens: Sequence[int]) -> float | None:
    """Floating-point operations of texts of `tokens` tokens in the whole encoder, multiplications and additions.

    Per layer and text of n tokens with hidden size h and intermediate size i: 2n(4h² + 2hi) in the four projections and
    the feed-forward, 4n²h in the attention. Embeddings, normalizations and the head are left out. For encoders with a
    plain feed-forward of two products; None where `config`, a config.json, does not describe such a one.
    """
    hidden = config.get("hidden_size", config.get("dim"))
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    inner = config.get("intermediate_size", config.get("hidden_dim"))
    plain = config.get("hidden_act", config.get("activation")) in ("gelu", "relu", "gelu_new", "gelu_pytorch_tanh")
    if not (isinstance(hidden, int) and isinstance(layers, int) and isinstance(inner, int) and plain):
        return None
    return float(sum(layers * (2 * n * (4 * hidden**2 + 2 * hidden * inner) + 4 * n**2 * hidden) for n in tokens))
