"""Pictures' sizes and ranges, and which encoder a config chooses."""

import numpy as np
import pytest
import torch

from vla.configuration import (
    CameraConfig,
    ConvConfig,
    ImageConfig,
    NativeConfig,
    PrismaticConfig,
    TowerConfig,
    VitConfig,
    VLMVisionConfig,
)
from vla.encoders.conv import ConvEncoder
from vla.encoders.image import Normalise, build_image_encoder, resize, resize_to, to_float, unit_range
from vla.encoders.native import NativeEncoder
from vla.encoders.prismatic import PrismaticEncoder
from vla.encoders.tower import TowerEncoder
from vla.encoders.vit import VitEncoder

TINY = {"width": 16, "layers": 2, "heads": 2, "mlp": 24, "patch": 8}
CONV = ConvConfig(stem=4, width=8, deep=12)
VIT = VitConfig(width=16, layers=2, heads=2, mlp=24)
CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
}  # fmt: skip


def pictures(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)


def image(encoder, *cameras: CameraConfig, **more) -> ImageConfig:
    return ImageConfig(cameras=cameras, encoder=encoder, **more)


def test_resize_keeps_what_fits_and_the_mean_of_what_does_not() -> None:
    x = pictures(2, 24)
    assert resize(x, 24) is x
    small = resize(x, 12)
    assert small.shape == (2, 12, 12, 3) and small.dtype == torch.uint8
    assert abs(small.float().mean() - x.float().mean()) < 1
    assert resize(x.float() / 255, 12).dtype == torch.float32
    wide = resize_to(x, 12, 36)
    assert wide.shape == (2, 12, 36, 3)
    plain = torch.full((1, 7, 9, 3), 77, dtype=torch.uint8)
    assert (resize_to(plain, 16, 5) == 77).all()


def test_bytes_and_unit_floats_mean_the_same() -> None:
    x = pictures(2, 8)
    for read in (to_float, unit_range, Normalise((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))):
        torch.testing.assert_close(read(x), read(x.float() / 255), atol=1e-5, rtol=0)
        assert read(x).shape == (2, 3, 8, 8)


def test_normalise_is_the_field_s_formula_and_part_of_the_weights() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = pictures(1, 8)
    plain = (x[0].numpy().astype(np.float64) / 255 - mean) / std
    normalise = Normalise(mean, std)
    torch.testing.assert_close(normalise(x)[0].permute(1, 2, 0), torch.from_numpy(plain).float())
    assert set(normalise.state_dict()) == {"mean", "std"}


@pytest.mark.parametrize(
    ("config", "cls", "points"),
    [
        (CONV, ConvEncoder, 2),
        (VIT, VitEncoder, 2),
        (TowerConfig(config=CLIP), TowerEncoder, 2),
        (PrismaticConfig(dino={**TINY, "registers": 2}, siglip=TINY), PrismaticEncoder, 0),
        (NativeConfig(patch=8), NativeEncoder, 0),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
@pytest.mark.parametrize("condition", [None, 6])
@pytest.mark.parametrize("grid", [0, 2])
def test_every_encoder_keeps_the_contract(config, cls, points, condition, grid) -> None:
    camera = CameraConfig("front", size=32, points=points, grid=grid)
    encoder = build_image_encoder(image(config, camera), camera, condition, width=20)
    assert isinstance(encoder, cls)
    summary = None if condition is None else torch.randn(3, condition)
    seen = encoder(pictures(3, 32), summary)
    assert seen.tokens.shape == (3, encoder.tokens, encoder.channels)
    assert torch.isfinite(seen.tokens).all()
    if points:
        assert seen.maps.shape[:2] == (3, 2) and seen.maps.dtype == torch.float32
        assert seen.points.shape == (3, 2, 2) and seen.points.min() > 0 and seen.points.max() < 1
    else:
        assert seen.maps is None and seen.points is None
    own = {id(p) for p in encoder.parameters()}
    for part in (*encoder.layer_list, *encoder.head_list):
        assert {id(p) for p in part.parameters()} <= own


@pytest.mark.parametrize("config", [CONV, VIT, TowerConfig(config=CLIP)], ids=lambda config: config.kind)
def test_pictures_do_not_mix_and_everything_used_learns(config) -> None:
    camera = CameraConfig("front", size=32, points=2, grid=2)
    encoder = build_image_encoder(image(config, camera), camera, 6, 20).eval()
    x, summary = pictures(3, 32), torch.randn(3, 6)
    together = encoder(x, summary).tokens
    alone = torch.cat([encoder(x[i : i + 1], summary[i : i + 1]).tokens for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    together.square().sum().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None]
    assert idle == []


@pytest.mark.parametrize("config", [CONV, VIT, TowerConfig(config=CLIP)], ids=lambda config: config.kind)
def test_an_encoder_sees_pictures_of_another_size_too(config) -> None:
    camera = CameraConfig("front", 32, 2, 2)
    encoder = build_image_encoder(image(config, camera), camera, 6, 20)
    large = encoder(pictures(2, 48), torch.randn(2, 6))
    assert large.tokens.shape[1] == encoder.tokens
    assert large.maps.shape[-1] == 1.5 * encoder(pictures(2, 32), torch.randn(2, 6)).maps.shape[-1]


def test_a_vlm_s_own_eyes_are_built_elsewhere() -> None:
    camera = CameraConfig("front", 32, 0, 0)
    with pytest.raises(AssertionError):
        build_image_encoder(image(VLMVisionConfig(), camera), camera, None, 20)
