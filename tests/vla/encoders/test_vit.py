"""The vision transformer trained here, and timm's layout against timm itself."""

import pytest
import torch

from vla.configuration import CameraConfig, VitConfig
from vla.encoders.vit import TimmViT, VitEncoder

WIDTH, HEADS, PATCH, SIZE, DEPTH = 32, 4, 14, 42, 4
NAMES = {"dino": "vit_large_patch14_reg4_dinov2", "siglip": "vit_so400m_patch14_siglip_224"}
MINE = {
    "dino": {"class_token": True, "registers": 4, "layer_scale": True, "mlp": 4 * WIDTH},
    "siglip": {"mlp": int(3.7362 * WIDTH)},
}
TINY = VitConfig(width=16, layers=2, heads=2, mlp=24, patch=8)


def pair(kind: str) -> tuple[torch.nn.Module, TimmViT]:
    """timm's own model of that name, made small, with large random weights; and ours holding the same."""
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(
        NAMES[kind], img_size=SIZE, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, num_classes=0
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    ours = TimmViT(width=WIDTH, layers=DEPTH, heads=HEADS, patch=PATCH, size=SIZE, **MINE[kind]).eval()
    weights = {
        name.replace(".gamma", ".scale_factor"): weight
        for name, weight in theirs.state_dict().items()
        if not name.startswith("attn_pool.")
    }
    ours.load_state_dict(weights)  # strict: the very names, and none left over
    return theirs, ours


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("blocks", [1, DEPTH - 1, DEPTH])
def test_equals_timm_after_every_block(kind: str, blocks: int) -> None:
    theirs, ours = pair(kind)
    x = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        (wanted,) = theirs.get_intermediate_layers(x, n=[blocks - 1])
        found = ours(x, blocks)
    assert found.shape == (2, (SIZE // PATCH) ** 2, WIDTH)
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("kind", NAMES)
def test_equals_timm_with_its_final_norm(kind: str) -> None:
    theirs, ours = pair(kind)
    x = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        wanted = theirs.forward_features(x)[:, theirs.num_prefix_tokens :]
        torch.testing.assert_close(ours(x), wanted, atol=1e-5, rtol=1e-5)


def test_gelu_is_the_exact_one() -> None:
    """timm takes the exact GELU for both (SigLIP's checkpoints in `transformers` take the tanh one)."""
    pytest.importorskip("timm")
    for kind in NAMES:
        act = pair(kind)[0].blocks[0].mlp.act
        assert isinstance(act, torch.nn.GELU) and act.approximate == "none"


def test_patches_know_their_place() -> None:
    """A picture of one colour has equal patches: only their places tell them apart, from the first step."""
    encoder = VitEncoder(TINY, CameraConfig("front", 32, 0, 0), None)
    tokens = encoder(torch.full((1, 32, 32, 3), 90, dtype=torch.uint8)).tokens[0]
    inner = [5, 6, 9, 10]  # away from the stem's padded border
    distance = torch.cdist(tokens[inner], tokens[inner]) + 9 * torch.eye(4)
    assert distance.min() > 0.1


def test_the_sentence_reaches_points_at_once_and_patches_after_a_step() -> None:
    encoder = VitEncoder(TINY, CameraConfig("front", 32, 2, 2), 6)
    x = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8).expand(2, -1, -1, -1)
    summary = torch.randn(2, 6)
    first = encoder(x, summary)
    assert (first.maps[0] - first.maps[1]).abs().max() > 1e-3
    torch.testing.assert_close(first.tokens[0, 2:], first.tokens[1, 2:])  # FiLM starts as identity
    torch.nn.init.normal_(encoder.film.film.weight)
    second = encoder(x, summary).tokens
    assert (second[0, 2:] - second[1, 2:]).abs().max() > 1e-2


@pytest.mark.parametrize("patch", [1, 2, 6, 7, 8, 16])
def test_any_patch_gives_its_grid(patch: int) -> None:
    config = VitConfig(width=18, layers=1, heads=2, mlp=8, patch=patch)
    encoder = VitEncoder(config, CameraConfig("front", 4 * max(patch, 2), 0, 0), None)
    size = encoder.camera.size
    seen = encoder(torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8))
    assert seen.tokens.shape == (1, (size // patch) ** 2, 18)


def test_depth_keeps_the_stream_s_size() -> None:
    shallow, deep = (
        VitEncoder(VitConfig(width=32, layers=n, heads=4, mlp=64, patch=8), CameraConfig("f", 32, 0, 0), None)
        for n in (1, 12)
    )
    for encoder in (shallow, deep):
        encoder.norm = torch.nn.Identity()
    x = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    assert 0.5 < deep(x).tokens.std() / shallow(x).tokens.std() < 2


def test_layer_lists() -> None:
    encoder = VitEncoder(TINY, CameraConfig("front", 32, 2, 2), None)
    assert list(encoder.layer_list) == list(encoder.blocks)
    assert list(encoder.head_list) == [encoder.norm, encoder.points]
