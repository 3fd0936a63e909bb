import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import IMAGE, PICTURED, SIDE, tiny
from torch import Tensor

from vla.backbones.hf import TransformersBackbone
from vla.backbones.vision import SeenDeep, VLMPictures, add_deep, grid_positions
from vla.configuration import CameraConfig, TransformersConfig
from vla.errors import BadInput

WORDS = torch.tensor([[1, 7, 9], [1, 12, 30]])
AFTER = torch.tensor([[5, 6, 8, 11], [21, 22, 3, 4]])


def pictures(count: int = 2, side: int = SIDE) -> Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=random)


def normalised(encoder: VLMPictures, seen: Tensor) -> Tensor:
    """[M, 3, S, S], by the arithmetic of a picture processor."""
    mean, std = (getattr(encoder.normalise, name).view(3, 1, 1) for name in ("mean", "std"))
    return (seen.permute(0, 3, 1, 2).float() / 255 - mean) / std


def its_own(name: str, backbone: TransformersBackbone, encoder: VLMPictures, seen: Tensor) -> dict[str, Any]:
    """The arguments with which the whole model takes words, one picture a sample, and words."""
    x = normalised(encoder, seen)
    place = torch.full((2, encoder.tokens), IMAGE)
    ids = torch.cat([WORDS, place, AFTER], 1)
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    if name in ("smolvlm", "idefics3"):
        given["pixel_values"] = x[:, None]
    elif name.startswith("qwen"):
        given |= qwen(name, backbone, encoder, seen, ids)
    else:
        given["pixel_values"] = x[:, None] if name in ("llava_next", "llava_onevision") else x
    if name in ("llava_next", "llava_onevision"):
        given["image_sizes"] = torch.tensor([[SIDE, SIDE]] * 2)
        given["batch_num_images"] = torch.tensor([2, 2])  # several: each is one patch
        if name == "llava_next":
            del given["batch_num_images"]
    if name in ("paligemma", "gemma3"):
        given["token_type_ids"] = torch.full_like(ids, 1 if name == "paligemma" else 0)
    return given


def qwen(
    name: str, backbone: TransformersBackbone, encoder: VLMPictures, seen: Tensor, ids: Tensor
) -> dict[str, Any]:
    """Patches made by the family's own image processor."""
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    vision = backbone.model.config.vision_config
    side = seen.shape[1]
    processor = Qwen2VLImageProcessor(
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
        do_resize=False,
        image_mean=encoder.normalise.mean.tolist(),
        image_std=encoder.normalise.std.tolist(),
        size={"shortest_edge": side * side, "longest_edge": side * side},
    )
    made = processor(images=list(seen.numpy()), return_tensors="pt")
    return {**made, "mm_token_type_ids": (ids == IMAGE).int()}


@pytest.mark.parametrize("name", PICTURED)
@torch.no_grad()
def test_the_whole_model_says_the_same(name: str) -> None:
    """Logits of `transformers`' own forward over ids with image tokens, against ours over embeddings."""
    backbone = tiny(name)
    encoder = VLMPictures(backbone, CameraConfig("front", size=SIDE, points=0, grid=0))
    given = its_own(name, backbone, encoder, pictures())
    if name == "llava_next":
        return compare_features(backbone, encoder, given)
    wanted = backbone.model(**given).logits

    seen = encoder(pictures())
    assert seen.tokens.shape == (2, encoder.tokens, backbone.width)
    x = torch.cat([backbone.embed(WORDS), seen.tokens, backbone.embed(AFTER)], 1)
    positions = None
    if name.startswith("qwen"):
        keys = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
        positions, _ = backbone.model.model.get_rope_index(**{key: given[key] for key in keys})
        counted = torch.arange(x.shape[1]).expand(2, -1)
        assert torch.equal(grid_positions(counted, [(WORDS.shape[1], encoder.cells(SIDE))]), positions)
    before = {} if seen.deep is None else add_deep([(WORDS.shape[1], seen.deep)])
    assert bool(before) == (name == "qwen3_vl")
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    found = backbone.head(backbone(x, mask, positions=positions, before=before))
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
    without = torch.cat([backbone.embed(WORDS), seen.tokens.flip(0), backbone.embed(AFTER)], 1)
    other = backbone.head(backbone(without, mask, positions=positions, before=before))
    assert (other - wanted)[:, -1].abs().max() > 1e-2  # the picture matters


def compare_features(backbone: TransformersBackbone, encoder: VLMPictures, given: dict[str, Any]) -> None:
    """LLaVA-NeXT always cuts a picture into tiles beside the whole: ours is the whole, as its first patch,
    then the end token."""
    pixels = given["pixel_values"].expand(-1, 2, -1, -1, -1)
    own = backbone.model.model.get_image_features(
        pixels, given["image_sizes"], vision_feature_layer=-2, vision_feature_select_strategy="default"
    )
    tokens = encoder(pictures()).tokens
    count = encoder.tokens - 1
    for mine, theirs in zip(tokens, own.pooler_output, strict=True):
        torch.testing.assert_close(mine[:count], theirs[:count], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mine[count], backbone.model.model.image_newline)


@pytest.mark.parametrize("name", PICTURED)
@torch.no_grad()
def test_encoder(name: str) -> None:
    backbone = tiny(name)
    encoder = VLMPictures(backbone, CameraConfig("front", size=SIDE, points=0, grid=0))
    assert set(encoder.state_dict()) == {"normalise.mean", "normalise.std"}
    assert not list(encoder.parameters()) and len(encoder.layer_list) in (2, 3)
    whole, shown = encoder(pictures()), pictures()
    torch.testing.assert_close(encoder(shown.float() / 255).tokens, whole.tokens, atol=1e-4, rtol=1e-4)
    one = encoder(shown[1:])
    torch.testing.assert_close(one.tokens, whole.tokens[1:], atol=1e-4, rtol=1e-4)
    grey = encoder(torch.full((3, SIDE, SIDE, 3), 0.5))  # not taken for padding, nor left out
    assert len(grey.tokens) == 3
    pooled = VLMPictures(backbone, CameraConfig("front", size=SIDE, points=0, grid=1))
    seen = pooled(shown)
    assert seen.tokens.shape == (2, 1, backbone.width) and pooled.tokens == 1
    cells = encoder.cells(SIDE) ** 2
    torch.testing.assert_close(seen.tokens[:, 0], whole.tokens[:, :cells].mean(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smolvlm", "size must be a multiple of 16 up to 32 for the tower of this VLM, not 40"),
        ("qwen3_vl", "size must be a multiple of 8 for"),
        ("paligemma", "size must be 32 for"),
        ("internvl", "size must be 32 for"),
    ],
)
def test_sizes_are_checked(name: str, message: str) -> None:
    size = 40 if name != "qwen3_vl" else 36
    with pytest.raises(BadInput, match=rf"camera 'wrist': {message}"):
        VLMPictures(tiny(name), CameraConfig("wrist", size=size, points=0, grid=0))


@torch.no_grad()
def test_other_sizes_where_the_tower_takes_them() -> None:
    for name, side, tokens in (("smolvlm", 16, 1), ("qwen2_5_vl", 48, 36), ("qwen3_vl", 16, 4)):
        encoder = VLMPictures(tiny(name), CameraConfig("front", size=side, points=0, grid=0))
        assert encoder.tokens == tokens
        assert encoder(pictures(side=side)).tokens.shape == (2, tokens, 32)


def test_an_absent_picture_takes_no_place() -> None:
    """Two pictures of 2 x 2 tokens after one word; the second sample lacks the first picture."""
    counted = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]])
    time, row, column = grid_positions(counted, [(1, 2), (5, 2)])
    assert time.tolist() == [[0, 1, 1, 1, 1, 3, 3, 3, 3, 5], [0, 0, 0, 0, 0, 1, 1, 1, 1, 3]]
    assert row.tolist() == [[0, 1, 1, 2, 2, 3, 3, 4, 4, 5], [0, 0, 0, 0, 0, 1, 1, 2, 2, 3]]
    assert column.tolist() == [[0, 1, 2, 1, 2, 3, 4, 3, 4, 5], [0, 0, 0, 0, 0, 1, 2, 1, 2, 3]]


def test_language_models_have_no_eyes() -> None:
    with pytest.raises(BadInput, match="type llama has no vision tower known here"):
        VLMPictures(tiny("llama"), CameraConfig("front", size=SIDE, points=0))


@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
def test_normalisation_is_the_checkpoints(tmp_path: Path, file: str) -> None:
    backbone = tiny("smolvlm")
    backbone.model.save_pretrained(tmp_path)
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    raw = {"image_processor": own} if file.startswith("processor") else own
    (tmp_path / file).write_text(json.dumps(raw))
    loaded = TransformersBackbone(TransformersConfig(path=str(tmp_path)))
    encoder = VLMPictures(loaded, CameraConfig("front", size=SIDE, points=0))
    assert encoder.normalise.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert encoder.normalise.std.tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_gradients_reach_the_tower() -> None:
    backbone = tiny("qwen3_vl")
    encoder = VLMPictures(backbone, CameraConfig("front", size=SIDE, points=0, grid=0))
    seen = encoder(pictures())
    assert isinstance(seen, SeenDeep) and seen.deep is not None
    (seen.tokens.square().sum() + seen.deep.square().sum()).backward()
    missing = [n for n, p in backbone.model.model.visual.named_parameters() if p.grad is None]
    assert not missing
