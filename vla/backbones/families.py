"""Which families of `transformers` can be the trunk, and which cannot.

The families of `TRIED` are each held by a test to what a trunk must do: take embeddings, obey any mask and
any positions, and give the same with a cache. Any other causal or vision-language model of `transformers`
is tried when it is built (see `vla.backbones.trial`), and refused where it fails.
"""

from vla.errors import BadInput, did_you_mean
from vla.optional import need

__all__ = ["PICTURED", "REFUSED", "TRIED", "auto_class", "check_family"]

PICTURED = (
    "gemma3",
    "idefics3",
    "internvl",
    "llava",
    "llava_next",
    "llava_onevision",
    "paligemma",
    "qwen2_5_vl",
    "qwen2_vl",
    "qwen3_vl",
    "smolvlm",
)
"""Vision-language models whose own vision tower can be used too. (PaliGemma 2 is of the type paligemma,
SmolVLM 2 of the type smolvlm.)"""

TRIED = (
    *PICTURED,
    "gemma",
    "gemma2",
    "gemma3_text",
    "gpt_neox",
    "llama",
    "mistral",
    "phi",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
)

REFUSED = {
    "fuyu": "it ignores the attention mask; use image.encoder.kind=native with a model of type llama",
    "persimmon": "it ignores the attention mask; use a model of type llama",
    "openvla": "it is a whole policy: train on from it with init=FOLDER, or run it with policy=FOLDER",
    "idefics": "it takes no embeddings without its pictures; use idefics3 or smolvlm",
}


def check_family(model_type: str, where: str) -> None:
    """Raise BadInput unless a trunk can be made of this type. where: what named it, for the message."""
    if model_type in REFUSED:
        raise BadInput(f"{where}: model_type '{model_type}' cannot be the backbone: {REFUSED[model_type]}")
    if model_type not in _language() and model_type not in _pictured():
        hint = did_you_mean(model_type, TRIED) if model_type else f" (known: {', '.join(TRIED)})"
        if "did you mean" not in hint:
            hint = f"; backbones known to work: {', '.join(TRIED)}"
        raise BadInput(
            f"{where}: model_type '{model_type}' is no causal or vision-language model of transformers{hint}"
        )


def auto_class(model_type: str) -> type:
    """The `Auto` class that builds a model of this type, with its head."""
    transformers = need("transformers", "transformers", "backbone.kind=transformers")
    pictured = model_type in _pictured()
    return transformers.AutoModelForImageTextToText if pictured else transformers.AutoModelForCausalLM


def _pictured() -> set[str]:
    auto = need("transformers.models.auto.modeling_auto", "transformers", "backbone.kind=transformers")
    return set(auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def _language() -> set[str]:
    auto = need("transformers.models.auto.modeling_auto", "transformers", "backbone.kind=transformers")
    return set(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
