"""Linear layers in 8 or 4 bits, by bitsandbytes: LLM.int8() (Dettmers et al. 2022) and NF4 with double
quantisation (QLoRA, Dettmers et al. 2023). The weights are read from a checkpoint and stay frozen; adapters
(``train: lora``) can be trained on them.
"""

import importlib.util
from typing import Any

import torch

from vla.configuration import TransformersConfig
from vla.errors import BadInput
from vla.optional import need

__all__ = ["check_quantize", "quantization"]


def check_quantize(config: TransformersConfig) -> None:
    """Raise BadInput where the model cannot be loaded as `config.quantize` asks. Reads no weights."""
    if config.quantize == "none":
        return
    asked = f"backbone.quantize={config.quantize}"
    if not config.path:
        raise BadInput(f"{asked} needs backbone.path: only weights that are there can be quantised")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput(f"{asked} needs bitsandbytes: pip install 'vla[quantize]', or use quantize=none")
    if not torch.cuda.is_available():
        raise BadInput(f"{asked} needs a CUDA GPU, and torch sees none; use backbone.quantize=none")


def quantization(config: TransformersConfig) -> dict[str, Any]:
    """Arguments of `from_pretrained` that load the linear layers in few bits, onto the GPU."""
    if config.quantize == "none":
        return {}
    transformers = need("transformers", "transformers", "backbone.kind=transformers")
    if config.quantize == "8bit":
        bits = transformers.BitsAndBytesConfig(load_in_8bit=True)
    else:
        bits = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, config.dtype),
        )
    return {"quantization_config": bits, "device_map": {"": torch.cuda.current_device()}}
