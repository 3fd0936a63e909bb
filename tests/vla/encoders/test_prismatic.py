"""OpenVLA's two towers, against timm."""

import dataclasses

import pytest
import torch

from vla.configuration import CameraConfig, PrismaticConfig
from vla.encoders.prismatic import PrismaticEncoder
from vla.errors import BadInput

DINO = {"width": 32, "layers": 4, "heads": 4, "mlp": 64, "patch": 14, "registers": 4}
SIGLIP = {"width": 24, "layers": 3, "heads": 2, "mlp": 40, "patch": 14}
TINY = PrismaticConfig(dino=DINO, siglip=SIGLIP)
CAMERA = CameraConfig("front", size=42, points=0, grid=0)


def towers() -> tuple[torch.nn.Module, torch.nn.Module]:
    """timm's models with the options of OpenVLA's two, and random weights."""
    vit = pytest.importorskip("timm.models.vision_transformer").VisionTransformer
    common = {"img_size": 42, "patch_size": 14, "num_classes": 0}
    dino = vit(
        **common, embed_dim=32, depth=4, num_heads=4, mlp_ratio=2, init_values=1e-5, reg_tokens=4,
        no_embed_class=True,
    )  # fmt: skip
    siglip = vit(
        **common, embed_dim=24, depth=3, num_heads=2, mlp_ratio=40 / 24, class_token=False, global_pool="map"
    )
    for tower in (dino, siglip):
        for parameter in tower.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return dino.eval(), siglip.eval()


def copy_into(encoder: PrismaticEncoder, dino: torch.nn.Module, siglip: torch.nn.Module) -> None:
    for mine, theirs in ((encoder.dino, dino), (encoder.siglip, siglip)):
        weights = {
            name.replace(".gamma", ".scale_factor"): value for name, value in theirs.state_dict().items()
        }
        mine.load_state_dict({name: v for name, v in weights.items() if not name.startswith("attn_pool.")})


def test_equals_timm_s_towers_side_by_side() -> None:
    encoder, (dino, siglip) = PrismaticEncoder(TINY, CAMERA).eval(), towers()
    copy_into(encoder, dino, siglip)
    pictures = torch.randint(0, 256, (3, 42, 42, 3), dtype=torch.uint8)
    x = pictures.permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    with torch.no_grad():
        (a,) = dino.get_intermediate_layers((x - mean.view(3, 1, 1)) / std.view(3, 1, 1), n=[4 - 2])
        (b,) = siglip.get_intermediate_layers((x - 0.5) / 0.5, n=[3 - 2])
        found = encoder(pictures).tokens
    wanted = torch.cat([a, b], -1)
    assert found.shape == (3, 9, 56) and encoder.channels == 56 and encoder.tokens == 9
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_openvla_s_own_size() -> None:
    with torch.device("meta"):
        encoder = PrismaticEncoder(PrismaticConfig(), CameraConfig("image", 224, 0, 0))
    assert (encoder.tokens, encoder.channels) == (256, 2176)
    assert encoder.dino.pos_embed.shape == (*encoder.siglip.pos_embed.shape[:2], 1024) == (1, 256, 1024)


def test_grid_averages_patches() -> None:
    whole = PrismaticEncoder(TINY, CAMERA).eval()
    pooled = PrismaticEncoder(TINY, dataclasses.replace(CAMERA, grid=1)).eval()
    pooled.load_state_dict(whole.state_dict())
    pictures = torch.randint(0, 256, (2, 42, 42, 3), dtype=torch.uint8)
    torch.testing.assert_close(pooled(pictures).tokens[:, 0], whole(pictures).tokens.mean(1))


def test_the_last_layers_are_those_of_both_towers_that_are_run() -> None:
    encoder = PrismaticEncoder(TINY, CAMERA)
    layers = [list(layer) for layer in encoder.layer_list]
    d, s = encoder.dino.blocks, encoder.siglip.blocks
    assert layers == [[d[0]], [d[1], s[0]], [d[2], s[1]]]
    encoder(torch.zeros(1, 42, 42, 3)).tokens.square().sum().backward()
    idle = {n.split(".")[1] + n.split(".")[2] for n, p in encoder.named_parameters() if p.grad is None}
    assert idle == {"blocks3", "blocks2", "normweight", "normbias"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dino": {**DINO, "wdith": 3}}, "unknown config key 'wdith' in 'image.encoder.dino'.*'width'"),
        ({"siglip": {**SIGLIP, "registers": 3}}, "unknown config key 'registers'"),
        ({"siglip": {"width": 24}}, "'image.encoder.siglip.layers' has no value"),
        ({"siglip": {**SIGLIP, "patch": 7}}, "patch 14 and image.encoder.siglip.patch 7 must be equal"),
        ({"dino": {**DINO, "heads": 5}}, "width 32 must be a multiple of heads 5"),
        ({"dino": {**DINO, "layers": 0}}, "image.encoder.dino.layers=0"),
        ({"camera": 45}, "camera 'front': size must be a multiple of 14.*not 45"),
    ],
)
def test_mistakes_are_one_line(change: dict, said: str) -> None:
    camera = dataclasses.replace(CAMERA, size=change.pop("camera", 42))
    with pytest.raises(BadInput, match=said) as error:
        PrismaticEncoder(dataclasses.replace(TINY, **change), camera)
    assert "\n" not in str(error.value)
