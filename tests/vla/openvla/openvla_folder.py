"""A tiny OpenVLA checkpoint as a folder: the files, keys and names of `openvla/openvla-7b`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from openvla_reference import (
    BF16_MEAN,
    BF16_STD,
    EMPTY,
    SIZE,
    VOCABULARY,
    Original,
    actions_of,
    pixels_of,
    prompt_of,
)
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from vla.interfaces import Observation

INSTRUCTIONS = (
    "pick up the red cube",
    "Put the Carrot on the Plate",
    "open the drawer, then close it",
    "wipe the table",
)


def picture(seed: int, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Large patches of colour, and noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)).resize((width, height))
    noise = rng.integers(-20, 20, (height, width, 3))
    return np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8)


def observe(picture: np.ndarray, task: str, robot: str = "") -> Observation:
    return Observation({"front": picture}, np.zeros(0, np.float32), task, robot=robot)


def norm_stats(seed: int = 0) -> dict[str, Any]:
    """Two data sets of seven numbers with different masks, and one of six."""
    rng = np.random.default_rng(seed)

    def feature(dim: int, mask: list[bool] | None) -> dict[str, Any]:
        low, span = rng.uniform(-1, 0, dim), rng.uniform(0.1, 2, dim)
        found = {"q01": low, "q99": low + span, "min": low - 0.1, "max": low + span + 0.1}
        found |= {"mean": low + span / 2, "std": span / 4}
        stats: dict[str, Any] = {name: values.tolist() for name, values in found.items()}
        return stats if mask is None else {**stats, "mask": mask}

    masks = {
        "bridge_orig": [True] * 6 + [False],
        "fractal": [True] * 3 + [False] + [True] * 3,
        "narrow": None,
    }
    return {
        name: {
            "action": feature(6 if mask is None else 7, mask),
            "proprio": feature(7, [True] * 7),
            "num_transitions": 1000,
            "num_trajectories": 10,
        }
        for name, mask in masks.items()
    }


def tokenizer_of() -> PreTrainedTokenizerFast:
    """Built as Llama 2's is: byte-pair pieces with a sign for spaces, single characters from 29871 on, bytes
    for what is unknown, `<s>` in front; 32,000 words, and `<PAD>` after them."""
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizer, normalizers.Replace("\n", "")])
    texts = [prompt_of(text) for text in INSTRUCTIONS]
    trained.train_from_iterator(texts * 3, trainers.BpeTrainer(vocab_size=160, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    pieces = sorted((p for p in model["vocab"] if len(p) > 1), key=lambda p: model["vocab"][p])
    letters = ["▁", *sorted(p for p in model["vocab"] if len(p) == 1 and p != "▁")]
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    words += [f"piece{i}" for i in range(len(words), EMPTY)] + letters
    words += [f"sign{i}" for i in range(len(words), VOCABULARY)]
    merges = [tuple(merge) for merge in model["merges"]]
    bpe = models.BPE(
        {word: i for i, word in enumerate(words)},
        merges,
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizer
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<PAD>"
    )


def config_of(original: Original, stats: dict[str, Any]) -> dict[str, Any]:
    """config.json, with the keys that the published one has."""
    return {
        "architectures": ["OpenVLAForActionPrediction"],
        "auto_map": {
            "AutoConfig": "configuration_prismatic.OpenVLAConfig",
            "AutoModelForVision2Seq": "modeling_prismatic.OpenVLAForActionPrediction",
        },
        "arch_specifier": "no-align+fused-gelu-mlp",
        "hf_llm_id": "meta-llama/Llama-2-7b-hf",
        "image_resize_strategy": "resize-naive",
        "image_sizes": [SIZE, SIZE],
        "llm_backbone_id": "llama2-7b-pure",
        "llm_max_length": 2048,
        "model_type": "openvla",
        "n_action_bins": 256,
        "norm_stats": stats,
        "output_projector_states": False,
        "pad_to_multiple_of": 64,
        "pad_token_id": 32_000,
        "text_config": {**original.text_config, "torch_dtype": "bfloat16"},
        "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        "timm_override_act_layers": [None, None],
        "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1",
        "use_fused_vision_backbone": True,
        "vision_backbone_id": "dinosiglip-vit-so-224px",
    }


def preprocessor_config() -> dict[str, Any]:
    """preprocessor_config.json, as published but for the size."""
    both = {"size": [SIZE, SIZE], "interpolation": 3, "antialias": True, "max_size": None}
    return {
        "image_processor_type": "PrismaticImageProcessor",
        "image_resize_strategy": "resize-naive",
        "input_sizes": [[3, SIZE, SIZE]] * 2,
        "interpolations": ["bicubic"] * 2,
        "means": [[0.485, 0.456, 0.406], [0.5] * 3],
        "stds": [[0.229, 0.224, 0.225], [0.5] * 3],
        "tvf_do_letterbox": False,
        "tvf_letterbox_fill": None,
        "tvf_normalize_params": [
            {"inplace": False, "mean": list(BF16_MEAN), "std": list(BF16_STD)},
            {"inplace": False, "mean": [0.5] * 3, "std": [0.5] * 3},
        ],
        "tvf_resize_params": [both, both],
        "use_fused_vision_backbone": True,
    }


def tokenizer_config() -> dict[str, Any]:
    """tokenizer_config.json, as published."""
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "auto_map": {"AutoProcessor": "processing_prismatic.PrismaticProcessor"},
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "legacy": False,
        "model_max_length": 2048,
        "pad_token": "<PAD>",
        "padding_side": "right",
        "processor_class": "PrismaticProcessor",
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
    }


@dataclass
class Published:
    """The folder, and the model that was written there."""

    folder: Path
    original: Original
    stats: dict[str, Any]
    tokenizer: PreTrainedTokenizerFast

    def predict(
        self, picture: np.ndarray, instruction: str, key: str
    ) -> tuple[list[int], np.ndarray, Tensor]:
        """-> the original's ids, actions and scores."""
        stats = self.stats[key]["action"]
        ids = self.tokenizer(prompt_of(instruction)).input_ids
        said, scores = self.original.answer(pixels_of(picture), ids, len(stats["q01"]))
        return said, actions_of(said, stats), scores


def publish(folder: Path, stats: dict[str, Any] | None = None, seed: int = 0, shards: int = 2) -> Published:
    """Write a random model in the published layout."""
    folder.mkdir(parents=True)
    original, stats = Original(seed), norm_stats() if stats is None else stats
    tensors = {
        # timm's name is gamma; the published layout's is this.
        name.replace(".gamma", ".scale_factor"): tensor.detach().clone().contiguous()
        for name, tensor in original.state_dict().items()
    }
    names = sorted(tensors)
    index: dict[str, str] = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        mine = names[i::shards]
        save_file({name: tensors[name] for name in mine}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(mine, file)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    _write(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": index})
    _write(folder / "config.json", config_of(original, stats))
    _write(folder / "preprocessor_config.json", preprocessor_config())
    _write(folder / "dataset_statistics.json", stats)
    tokenizer = tokenizer_of()
    tokenizer.save_pretrained(folder)
    _write(folder / "tokenizer_config.json", tokenizer_config())
    return Published(folder, original, stats, tokenizer)


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    raw = json.loads((folder / name).read_text())
    change(raw)
    (folder / name).write_text(json.dumps(raw))
