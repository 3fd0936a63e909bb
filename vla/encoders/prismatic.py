"""OpenVLA's eyes: DINOv2 with registers and SigLIP side by side (Karamcheti et al. 2024, arXiv:2402.07865).

DINOv2 knows where things are, SigLIP what they are called. Each reads the same picture with its own
normalisation; the patches' tokens, as they are after the last block but one and without a final norm, are
concatenated along channels. Weight names are those of timm (see `TimmViT`).

Shapes: M pictures, S side in pixels, N patches, C = width of DINOv2 + width of SigLIP.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vla.configuration import CameraConfig, PrismaticConfig
from vla.encoders.image import ImageEncoder, Normalise, Seen
from vla.encoders.points import grid_tokens
from vla.encoders.vit import TimmViT
from vla.errors import BadInput, did_you_mean

__all__ = ["PrismaticEncoder"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
KEYS = ("width", "layers", "heads", "mlp", "patch")


class PrismaticEncoder(ImageEncoder):
    """Pictures [M, S, S, 3] -> [M, N, C]; 256 tokens of 2176 channels at OpenVLA's own sizes and 224 pixels.

    Positions are learned for one picture size and stay as they are in the checkpoint. The last block and the
    final norm of each tower are part of the layout, so they are kept, but they are never run.
    """

    def __init__(self, config: PrismaticConfig, camera: CameraConfig) -> None:
        dino, siglip = _settings("dino", config.dino), _settings("siglip", config.siglip)
        if dino["patch"] != siglip["patch"]:
            raise BadInput(
                f"image.encoder.dino.patch {dino['patch']} and image.encoder.siglip.patch {siglip['patch']} "
                "must be equal: their tokens are put side by side"
            )
        super().__init__(camera, dino["width"] + siglip["width"])
        self.patch = dino["patch"]
        if camera.size % self.patch:
            raise BadInput(
                f"camera '{camera.name}': size must be a multiple of {self.patch} for "
                f"image.encoder.kind=prismatic, not {camera.size}"
            )
        self.dino = TimmViT(size=camera.size, class_token=True, layer_scale=True, **dino)
        self.siglip = TimmViT(size=camera.size, **siglip)
        self.normalise_dino = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.normalise_siglip = Normalise(HALF, HALF)

    def cells(self, size: int) -> int:
        """Patches along one side."""
        return size // self.patch

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """The blocks that are run, those of equal distance from the end together."""
        towers = [list(tower.blocks[:-1])[::-1] for tower in (self.dino, self.siglip)]
        depth = max(map(len, towers))
        pairs = [nn.ModuleList([blocks[i] for blocks in towers if i < len(blocks)]) for i in range(depth)]
        return pairs[::-1]

    def forward(self, pictures_MSSC: Tensor, summary_MC: Tensor | None = None) -> Seen:
        """Pictures uint8 (or float 0..1) [M, S, S, 3] -> a token for each patch, or for each grid cell."""
        seen = [
            tower(normalise(pictures_MSSC).to(tower.pos_embed.dtype), len(tower.blocks) - 1)
            for tower, normalise in ((self.dino, self.normalise_dino), (self.siglip, self.normalise_siglip))
        ]
        x_MNC = torch.cat(seen, -1)
        if not self.camera.grid:
            return Seen(x_MNC)
        side = self.cells(pictures_MSSC.shape[1])
        return Seen(grid_tokens(x_MNC.transpose(1, 2).unflatten(2, (side, side)), self.camera.grid))


def _settings(tower: str, given: Mapping[str, int]) -> dict[str, Any]:
    """A tower's sizes, checked."""
    place = f"image.encoder.{tower}"
    known = (*KEYS, "registers") if tower == "dino" else KEYS
    for key, value in given.items():
        if key not in known:
            raise BadInput(f"unknown config key '{key}' in '{place}'{did_you_mean(key, known)}")
        if value < (0 if key == "registers" else 1):
            raise BadInput(f"{place}.{key}={value}: at least 1 is needed")
    for key in KEYS:
        if key not in given:
            raise BadInput(f"'{place}.{key}' has no value: give one with {place}.{key}=...")
    if given["width"] % given["heads"]:
        raise BadInput(f"{place}.width {given['width']} must be a multiple of heads {given['heads']}")
    return dict(given)
