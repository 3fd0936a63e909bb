"""A tiny OpenVLA, written without any code of this project: what `vla.openvla` is compared with.

timm's own vision transformers, a three-layer projector and the Llama of `transformers`, put together, run
and decoded as the published model does it (its `predict_action`). The names of its weights come out as they
are in `openvla/openvla-7b`. Shapes: N patches, L ids, W width, V vocabulary.
"""

from typing import Any

import numpy as np
import timm.models.vision_transformer as timm_vit
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

SIZE = 56
VOCABULARY, ROWS = 32_000, 32_064
FIRST = VOCABULARY - 256
EMPTY = 29_871
"""The id of a lone space, which the original puts after the prompt."""

BF16_MEAN, BF16_STD = (0.484375, 0.455078125, 0.40625), (0.228515625, 0.2236328125, 0.224609375)
"""DINOv2's colours as the published preprocessor_config.json has them: rounded to bfloat16."""


class Original(nn.Module):
    """The published model, small. Weights are large enough for every part to matter in the answer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        common: dict[str, Any] = {"img_size": SIZE, "patch_size": 14, "num_heads": 16, "num_classes": 0}
        self.vision_backbone = nn.ModuleDict(
            {
                "featurizer": timm_vit.VisionTransformer(
                    **common, embed_dim=32, depth=3, init_values=1e-5, reg_tokens=4, no_embed_class=True
                ),
                "fused_featurizer": timm_vit.VisionTransformer(
                    **common, embed_dim=48, depth=4, mlp_ratio=3.7362, class_token=False, global_pool="map"
                ),
            }
        )
        width, seen = 48, 32 + 48
        self.projector = nn.ModuleDict(
            {
                "fc1": nn.Linear(seen, 4 * seen),
                "fc2": nn.Linear(4 * seen, width),
                "fc3": nn.Linear(width, width),
            }
        )
        self.text_config = {
            "model_type": "llama",
            "vocab_size": ROWS,
            "pad_token_id": 32_000,
            "hidden_size": width,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
        }
        self.language_model = LlamaForCausalLM(
            LlamaConfig(**{k: v for k, v in self.text_config.items() if k != "model_type"})
        )
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim > 1:
                    scale = 1.0 if "embed" in name else parameter[0].numel() ** -0.5
                    parameter.normal_(std=1.3 * scale)
                elif "gamma" in name or "norm" in name:
                    parameter.uniform_(0.5, 1.5)
                else:
                    parameter.normal_(std=0.1)
            words = torch.ones(ROWS, dtype=torch.bool)
            words[VOCABULARY - 256 : VOCABULARY] = False
            self.language_model.lm_head.weight[words] *= 0.02  # so that it always answers with actions
        self.eval()

    @torch.no_grad()
    def answer(self, pixels_6SS: Tensor, ids: list[int], count: int) -> tuple[list[int], Tensor]:
        """-> the ids that the model says after a prompt, greedily and without a cache, and its scores for
        each, [count, V]."""
        said, scores = [*ids], []
        if said[-1] != EMPTY:
            said.append(EMPTY)
        towers, dtype = self.vision_backbone, self.projector["fc1"].weight.dtype
        patches_1NC = torch.cat(
            [
                tower.get_intermediate_layers(pixels[None], n={len(tower.blocks) - 2})[0]
                for tower, pixels in zip(towers.values(), pixels_6SS.to(dtype).split(3), strict=True)
            ],
            2,
        )
        fc1, fc2, fc3 = self.projector.values()
        gelu = nn.functional.gelu
        patches_1NW = fc3(gelu(fc2(gelu(fc1(patches_1NC)))))
        for _ in range(count):
            words_1LW = self.language_model.get_input_embeddings()(torch.tensor([said]))
            whole = torch.cat([words_1LW[:, :1], patches_1NW, words_1LW[:, 1:]], 1)
            scores.append(self.language_model(inputs_embeds=whole).logits[0, -1].float())
            said.append(int(scores[-1].argmax()))
        return said[-count:], torch.stack(scores)


def actions_of(ids: list[int], stats: dict[str, Any]) -> np.ndarray:
    """What the original makes of its ids: float64 [dim], in the robot's units."""
    edges = np.linspace(-1, 1, 256)
    centres = (edges[:-1] + edges[1:]) / 2.0
    digits = np.clip((ROWS - 64) - np.array(ids) - 1, 0, len(centres) - 1)
    normalised = centres[digits]
    low, high = np.array(stats["q01"]), np.array(stats["q99"])
    mask = stats.get("mask", np.ones_like(low, dtype=bool))
    return np.where(mask, 0.5 * (normalised + 1) * (high - low) + low, normalised)


def pixels_of(picture: np.ndarray, means: Any = (BF16_MEAN,), stds: Any = (BF16_STD,)) -> Tensor:
    """The original's image processor: uint8 [H, W, 3] -> [6, S, S]."""
    resized = Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    unit = np.asarray(resized).astype(np.float32) / 255.0
    towers = [(unit - means[0]) / stds[0], (unit - 0.5) / 0.5]
    return torch.from_numpy(np.concatenate(towers, -1).transpose(2, 0, 1).astype(np.float32))


def prompt_of(instruction: str) -> str:
    """What the original is asked."""
    return f"In: What action should the robot take to {instruction.lower()}?\nOut:"
