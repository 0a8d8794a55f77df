"""A tiny classifier, of texts or of tokens, of every model type that transformers has.

Its weights are large enough that each term matters.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from onnxpress.artifacts.manifest import Task
from tests.conftest import MAX_LENGTH, make_tokenizer

__all__ = ["MODEL_CLASSES", "MODEL_TYPES", "tiny_classifier", "tiny_tokenizer"]

MODEL_CLASSES: dict[Task, Any] = {
    "text-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
}
MODEL_TYPES: dict[Task, tuple[str, ...]] = {
    "text-classification": tuple(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
    "token-classification": tuple(MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES),
}

_LAYERS, _HEADS, _WIDTH = 2, 4, 32
_SIZES: dict[str, Any] = {
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers",
         "num_decoder_layers"), _LAYERS),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads",
         "decoder_attention_heads"), _HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "num_query_groups"), 2),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "emb_dim", "dim"), _WIDTH),
    **dict.fromkeys(("embedding_size", "input_embedding_size", "output_embedding_size", "rotary_dim"), 8),
    **dict.fromkeys(("head_dim", "d_kv", "d_head", "kv_channels", "attention_head_size"), 8),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "dff", "d_ff", "hidden_dim", "d_inner",
         "ffn_hidden_size", "feed_forward_size"), 64),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), MAX_LENGTH),
    "sliding_window": 8, "local_attention": 8, "window_size": 8, "query_pre_attn_scalar": 8,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1,
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "attn_logit_softcapping": 2.0, "type_vocab_size": 2, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    "sep_token_id": 3, "cls_token_id": 2, "decoder_start_token_id": 3, "rope_theta": 10_000.0,
    "mamba_d_state": 8, "mamba_dt_rank": 8, "n_mamba_heads": 2, "word_embed_proj_dim": _WIDTH,
}  # fmt: skip
"""By the name that a configuration gives it."""

_ROTARY = {"rope_type": "default", "rope_theta": 10_000.0}
_OWN: dict[str, dict[str, Any]] = {
    "big_bird": {"attention_type": "block_sparse", "block_size": 16, "num_random_blocks": 2},
    "bigbird_pegasus": {"attention_type": "block_sparse", "block_size": 16, "num_random_blocks": 2},
    "canine": {"num_hash_functions": 4, "num_hash_buckets": 64, "local_transformer_stride": 16},
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"],
        "rope_parameters": dict.fromkeys(("full_attention", "sliding_attention"), _ROTARY)},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 16},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
    "falcon": {"new_decoder_architecture": False, "multi_query": True, "alibi": False},
    "flaubert": {"n_langs": 1},
    "funnel": {"block_sizes": [1, 1], "d_model": _WIDTH, "n_head": _HEADS},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "use_mamba_kernels": False},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8},
    "lilt": {"hidden_size": 48},
    "longformer": {"attention_window": [8, 8]},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 8},
    "mistral4": {"num_key_value_heads": _HEADS, "head_dim": 16},
    "mobilebert": {"embedding_size": _WIDTH, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    "mpt": {"max_seq_len": MAX_LENGTH},
    "mra": {"num_blocks": 4},
    "nystromformer": {"num_landmarks": 64, "segment_means_seq_len": 64},
    "perceiver": {"d_latents": 16, "d_model": 16, "num_latents": 8, "num_blocks": 1, "num_self_attends_per_block": 2,
                  "num_self_attention_heads": 2, "num_cross_attention_heads": 2},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "lsh"], "local_attn_chunk_length": 8,
                 "lsh_attn_chunk_length": 8, "num_buckets": 4, "is_decoder": False},
    "roc_bert": {"pronunciation_vocab_size": 8, "shape_vocab_size": 8, "pronunciation_embed_dim": 8,
                 "shape_embed_dim": 8, "enable_pronunciation": True, "enable_shape": True},
    "squeezebert": {"embedding_size": _WIDTH},
    "t5": {"decoder_start_token_id": 0},
    "mt5": {"decoder_start_token_id": 0},
    "umt5": {"decoder_start_token_id": 0},
    **{name: {"num_key_value_heads": _HEADS} for name in (
        "axk1", "axk2", "deepseek_v2", "deepseek_v3", "esmc", "minicpm3")},
    "xlm": {"n_langs": 1},
    "xlm-roberta-xl": {},
    "xmod": {"languages": ["en"], "default_language": "en"},
}  # fmt: skip


_SIZE_OF_WEIGHTS = {"mobilebert": 0.5}
"""Where no normalization keeps scores within thousands, among which what hides a token would no longer hide it."""


def tiny_tokenizer(model_type: str) -> PreTrainedTokenizerFast:
    """The tests' tokenizer; models that answer at the eos token find one at the end of each text."""
    tokenizer = make_tokenizer()
    tokenizer.eos_token = "[SEP]"
    if model_type in ("roberta", "xlm-roberta", "xlm-roberta-xl", "longformer"):
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


def tiny_classifier(model_type: str, vocabulary: int, task: Task = "text-classification") -> PreTrainedModel:
    """A two-layer classifier with three labels, random and seeded. Raises what transformers raises."""
    torch.manual_seed(7)
    kind: Any = CONFIG_MAPPING[model_type]
    config = kind(num_labels=3, **(_settings(kind(), vocabulary) | _OWN.get(model_type, {})))
    model = MODEL_CLASSES[task].from_config(config)
    return _large_weights(model, _SIZE_OF_WEIGHTS.get(model_type, 1.0)).eval()


def _settings(default: Any, vocabulary: int) -> dict[str, Any]:
    held = {*default.to_dict(), *getattr(default, "attribute_map", {})}
    settings = {name: value for name, value in {"vocab_size": vocabulary, **_SIZES}.items() if name in held}
    for name, nested in default.to_dict().items():
        if name.endswith("_config") and isinstance(nested, dict):
            settings[name] = _settings(getattr(default, name), vocabulary)
    if "layer_types" in held and (types := getattr(default, "layer_types", None)):
        kinds = list(dict.fromkeys(types))
        settings["layer_types"] = [kinds[index % len(kinds)] for index in range(_LAYERS)]
    if isinstance(getattr(default, "mlp_layer_types", None), list):
        settings["mlp_layer_types"] = ["dense", "sparse"]
    return settings


def _large_weights(model: PreTrainedModel, size: float) -> PreTrainedModel:
    """Biases, caps, sinks and scales away from 0 and 1; products that keep a value's size from layer to layer."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            scale = 0.3 if weight.dim() < 2 else max(0.3, 1.2 / weight.shape[-1] ** 0.5)
            is_scale = weight.dim() == 1 and name.endswith("weight")
            weight.copy_((1.0 if is_scale else 0.0) + noise * scale * size)
    return model
