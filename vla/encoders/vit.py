"""Vision transformers: a plain pre-norm stack, trained here (`VitEncoder`) or in timm's layout (`TimmViT`).

Both are made of the same blocks (Dosovitskiy et al. 2021, arXiv:2010.11929), whose weights are named as in
timm, so that a checkpoint of timm's `VisionTransformer` loads as it is.

Shapes: M pictures, S side in pixels, W width, H heads, E = W / H, h, w patches, N = h * w.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.backbones.small import attend
from vla.configuration import CameraConfig, VitConfig
from vla.encoders.conv import Film
from vla.encoders.image import ImageEncoder, Seen, to_float
from vla.encoders.points import PointReader, grid_tokens, read_map

__all__ = ["TimmViT", "VitBlock", "VitEncoder"]

EPS = 1e-6
"""Of every layer norm, as timm has it (torch's own default is 1e-5)."""


class Attention(nn.Module):
    """Every token looks at every token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_MNW: Tensor) -> Tensor:
        """[M, N, W] -> [M, N, W]."""
        m, n, _ = x_MNW.shape
        q, k, v = self.qkv(x_MNW).view(m, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(attend(q, k, v, None).transpose(1, 2).reshape(m, n, -1))


class Mlp(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., W] -> [..., W]."""
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned gain for each channel of a branch (Touvron et al. 2021, arXiv:2103.17239)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # timm calls it gamma; OpenVLA renamed it, because transformers rewrites that name on loading.
        self.scale_factor = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """[..., W] -> [..., W]."""
        return x * self.scale_factor


class VitBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); with layer scale, each branch has a gain."""

    def __init__(self, width: int, heads: int, mlp: int, layer_scale: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, mlp)
        self.ls2 = LayerScale(width) if layer_scale else nn.Identity()

    def forward(self, x_MNW: Tensor) -> Tensor:
        """[M, N, W] -> [M, N, W]."""
        x_MNW = x_MNW + self.ls1(self.attn(self.norm1(x_MNW)))
        return x_MNW + self.ls2(self.mlp(self.norm2(x_MNW)))


class _PatchEmbed(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)


class TimmViT(nn.Module):
    """timm's `VisionTransformer`, without its pooling and classifier.

    registers: learned tokens beside the class token (Darcet et al. 2024, arXiv:2309.16588). Positions are
    those of the patches alone (timm's no_embed_class), which without a class token is no difference.
    """

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        heads: int,
        mlp: int,
        patch: int,
        size: int,
        class_token: bool = False,
        registers: int = 0,
        layer_scale: bool = False,
    ) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.reg_token = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self.pos_embed = nn.Parameter(torch.randn(1, (size // patch) ** 2, width) * 0.02)
        self.blocks = nn.ModuleList([VitBlock(width, heads, mlp, layer_scale) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, x_M3SS: Tensor, blocks: int | None = None) -> Tensor:
        """Normalised pictures [M, 3, S, S] -> the patches' tokens [M, N, W].

        blocks: only so many are run, and their output is given as it is; None: all, and the final norm.
        """
        x = self.patch_embed.proj(x_M3SS).flatten(2).transpose(1, 2)
        count = x.shape[1]
        before = [t.expand(len(x), -1, -1) for t in (self.cls_token, self.reg_token) if t is not None]
        x = torch.cat([*before, x + self.pos_embed], 1)
        for block in self.blocks[:blocks]:
            x = block(x)
        return (self.norm(x) if blocks is None else x)[:, -count:]


class VitEncoder(ImageEncoder):
    """Trained here: a convolutional stem, the sentence's say (FiLM), learned places, blocks; points and grid.

    A stem of small strided convolutions instead of one large one is what lets a ViT learn from little data
    (Xiao et al. 2021, arXiv:2106.14881). For a picture of another size than the camera's the places are
    interpolated.
    """

    def __init__(self, config: VitConfig, camera: CameraConfig, condition: int | None) -> None:
        super().__init__(camera, config.width)
        self.patch = config.patch
        self.stem = _stem(config.width, config.patch)
        self.film = Film(config.width, condition)
        self.places = nn.Parameter(_waves(config.width, self.cells(camera.size)))
        blocks = [VitBlock(config.width, config.heads, config.mlp) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        self.points = (
            PointReader(config.width, camera.points, condition, config.width) if camera.points else None
        )
        for block in blocks:  # so that the residual stream keeps its size whatever the depth
            for linear in (block.attn.proj, block.mlp.fc2):
                nn.init.normal_(linear.weight, std=0.02 / (2 * config.layers) ** 0.5)
            for linear in (block.attn.qkv, block.mlp.fc1):
                nn.init.normal_(linear.weight, std=config.width**-0.5)

    def cells(self, size: int) -> int:
        """Patches along one side."""
        return size // self.patch

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """The blocks."""
        return list(self.blocks)

    @property
    def head_list(self) -> Sequence[nn.Module]:
        """The final norm and the points."""
        return [self.norm] if self.points is None else [self.norm, self.points]

    def forward(self, pictures_MSSC: Tensor, summary_MC: Tensor | None = None) -> Seen:
        """Pictures uint8 (or float 0..1) [M, S, S, 3] -> points, then grid cells."""
        x = self.film(self.stem(to_float(pictures_MSSC).to(self.places.dtype)), summary_MC)
        m, width, h, w = x.shape
        places: Tensor = self.places
        if places.shape[-2:] != (h, w):
            places = F.interpolate(places, size=(h, w), mode="bilinear", align_corners=False)
        x_MNW = (x + places).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x_MNW = block(x_MNW)
        x = self.norm(x_MNW).transpose(1, 2).reshape(m, width, h, w)
        return read_map(self.points, x, summary_MC, grid_tokens(x, self.camera.grid))


def _stem(width: int, patch: int) -> nn.Sequential:
    """[M, 3, S, S] -> [M, W, S / patch, S / patch]: halved while that is possible, at most three times."""
    halvings = next(n for n in (3, 2, 1, 0) if patch % 2**n == 0)
    layers: list[nn.Module] = []
    channels = 3
    for n in range(halvings, 0, -1):
        after = max(width // 2**n, 8)
        layers += [nn.Conv2d(channels, after, 3, stride=2, padding=1), nn.ReLU()]
        channels = after
    rest = patch // 2**halvings
    return nn.Sequential(*layers, nn.Conv2d(channels, width, rest, stride=rest))


def _waves(width: int, side: int) -> Tensor:
    """[1, W, side, side]: sines and cosines of x and y, what the learned places start from.

    A fresh network so knows neighbours from the first step (Beyer et al. 2022, arXiv:2205.01580).
    """
    count = -(-width // 4)
    angles = torch.arange(side)[:, None] * 1e4 ** (-torch.arange(count) / count)
    wave = torch.cat([angles.sin(), angles.cos()], 1).T
    x, y = wave[:, None, :].expand(-1, side, -1), wave[:, :, None].expand(-1, -1, side)
    return torch.cat([x, y])[None, :width].clone()
