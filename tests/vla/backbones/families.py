"""Tiny configs of every family, as mappings: what a user gives in `backbone.config`."""

from typing import Any

import torch

from vla.backbones.hf import TransformersBackbone
from vla.configuration import TransformersConfig

VOCABULARY = 64
IMAGE = 60
"""The id that stands for a picture's tokens in the pictured families."""
SIDE = 32

_TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_dropout": 0.0,
    "initializer_range": 0.2,  # so that every part shows in the outputs
}
_SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]
_GEMMA = {**_TEXT, "head_dim": 8}

LANGUAGE: dict[str, dict[str, Any]] = {
    "llama": {**_TEXT, "model_type": "llama"},
    "qwen2": {**_TEXT, "model_type": "qwen2"},
    "qwen3": {**_TEXT, "model_type": "qwen3", "head_dim": 8},
    "smollm3": {**_TEXT, "model_type": "smollm3"},
    "gemma": {**_GEMMA, "model_type": "gemma"},
    "gemma2": {
        **_GEMMA,
        "model_type": "gemma2",
        "sliding_window": 4,
        "layer_types": _SLIDING,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    },
    "gemma3_text": {**_GEMMA, "model_type": "gemma3_text", "sliding_window": 4, "layer_types": _SLIDING},
    "mistral": {**_TEXT, "model_type": "mistral", "sliding_window": 4},
    "gpt_neox": {**_TEXT, "model_type": "gpt_neox", "hidden_dropout": 0.0},
    "phi": {**_TEXT, "model_type": "phi"},
    "phi3": {**_TEXT, "model_type": "phi3", "sliding_window": 4},
}

_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
    "vision_use_head": False,
}
_CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}
_ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
_QWEN = {
    "image_token_id": IMAGE,
    "video_token_id": 61,
    "vision_start_token_id": 62,
    "vision_end_token_id": 63,
}
_IDEFICS_VISION = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
    "initializer_range": 0.2,
}

PICTURED: dict[str, dict[str, Any]] = {
    "smolvlm": {
        "model_type": "smolvlm",
        "text_config": LANGUAGE["llama"],
        "vision_config": {"model_type": "smolvlm_vision", **_IDEFICS_VISION},
        "image_token_id": IMAGE,
        "pad_token_id": 0,
    },
    "idefics3": {
        "model_type": "idefics3",
        "text_config": LANGUAGE["llama"],
        "vision_config": {"model_type": "idefics3_vision", **_IDEFICS_VISION},
        "image_token_id": IMAGE,
        "pad_token_id": 0,
    },
    "paligemma": {
        "model_type": "paligemma",
        "text_config": LANGUAGE["gemma2"],
        "vision_config": {**_SIGLIP, "projection_dim": 32},
        "image_token_index": IMAGE,
        "projection_dim": 32,
        "hidden_size": 32,
        "pad_token_id": 0,
    },
    "gemma3": {
        "model_type": "gemma3",
        "text_config": LANGUAGE["gemma3_text"],
        "vision_config": _SIGLIP,
        "mm_tokens_per_image": 4,
        "image_token_index": IMAGE,
    },
    "qwen2_vl": {
        "model_type": "qwen2_vl",
        "text_config": {**_TEXT, "model_type": "qwen2_vl_text", "rope_parameters": _ROPE},
        "vision_config": {
            "model_type": "qwen2_vl",
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
        },
        **_QWEN,
    },
    "qwen2_5_vl": {
        "model_type": "qwen2_5_vl",
        "text_config": {**_TEXT, "model_type": "qwen2_5_vl_text", "rope_parameters": _ROPE},
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "depth": 2,
            "hidden_size": 32,
            "out_hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 4,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        **_QWEN,
    },
    "qwen3_vl": {
        "model_type": "qwen3_vl",
        "text_config": {**_TEXT, "model_type": "qwen3_vl_text", "head_dim": 8, "rope_parameters": _ROPE},
        "vision_config": {
            "model_type": "qwen3_vl",
            "depth": 3,
            "hidden_size": 32,
            "out_hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 4,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        **_QWEN,
    },
    "llava": {
        "model_type": "llava",
        "text_config": LANGUAGE["llama"],
        "vision_config": _CLIP,
        "image_token_index": IMAGE,
        "vision_feature_layer": -2,
    },
    "llava_next": {
        "model_type": "llava_next",
        "text_config": LANGUAGE["mistral"],
        "vision_config": _CLIP,
        "image_token_index": IMAGE,
        "vision_feature_layer": -2,
        "image_grid_pinpoints": [[SIDE, SIDE]],
    },
    "llava_onevision": {
        "model_type": "llava_onevision",
        "text_config": LANGUAGE["qwen2"],
        "vision_config": _SIGLIP,
        "image_token_index": IMAGE,
        "video_token_index": 61,
        "image_grid_pinpoints": [[SIDE, SIDE]],
    },
    "internvl": {
        "model_type": "internvl",
        "text_config": LANGUAGE["qwen2"],
        "vision_config": {
            "model_type": "internvl_vision",
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": [SIDE, SIDE],
            "patch_size": [8, 8],
        },
        "image_token_id": IMAGE,
    },
}

EVERY = {**LANGUAGE, **PICTURED}


def tiny(name: str, **options: Any) -> TransformersBackbone:
    """A tiny random model of a family, the same each time, in evaluation mode."""
    torch.manual_seed(0)
    backbone = TransformersBackbone(TransformersConfig(config=EVERY[name], **options)).eval()
    with torch.no_grad():  # norms and biases start at 1 and 0, where a mistake would not show
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return backbone
