"""Vision towers of `transformers`, against the towers themselves."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from vla.configuration import CameraConfig, TowerConfig
from vla.encoders.tower import TowerEncoder
from vla.errors import BadInput

COMMON = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 8}
CLASSIC = {**COMMON, "intermediate_size": 24, "image_size": 32}
CONFIGS: dict[str, dict[str, Any]] = {
    "siglip_vision_model": CLASSIC,
    "siglip2_vision_model": {**COMMON, "intermediate_size": 24, "num_patches": 16},
    "clip_vision_model": CLASSIC,
    "dinov2": {**COMMON, "mlp_ratio": 2, "image_size": 32},
    "dinov2_with_registers": {**COMMON, "mlp_ratio": 2, "image_size": 32, "num_register_tokens": 3},
    "dinov3_vit": {**CLASSIC, "num_register_tokens": 2},
}
WHOLE = {"siglip": "SiglipVisionModel", "siglip2": "Siglip2VisionModel", "clip": "CLIPVisionModel"}
"""Checkpoints of both halves, and the class of their vision half."""
CAMERA = CameraConfig("front", size=32, points=0, grid=0)
NORMALISED = {
    "siglip": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "dino": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and deviation of each colour, by family."""


def checkpoint(folder: Path, kind: str) -> torch.nn.Module:
    """A folder with random weights in `transformers`' own layout; the model it holds."""
    if kind in WHOLE:
        vision = CONFIGS[f"{kind}_vision_model"]
        text = {
            k: 16 if "size" in k else 2 for k in ("hidden_size", "intermediate_size", "num_hidden_layers")
        }
        text |= {"num_attention_heads": 2, "vocab_size": 50, "projection_size": 16}
        config = transformers.CONFIG_MAPPING[kind](vision_config=vision, text_config=text)
    else:
        config = transformers.CONFIG_MAPPING[kind](**CONFIGS[kind])
    model = transformers.AutoModel.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return model


def normalised(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = next(numbers for family, numbers in NORMALISED.items() if family in kind)
    return torch.tensor(mean), torch.tensor(std)


def oracle(tower: torch.nn.Module, kind: str, pictures: torch.Tensor, layer: int) -> torch.Tensor:
    """The patches' hidden states, as `transformers` counts them, of pictures uint8 [M, S, S, 3]."""
    mean, std = normalised(kind)
    x = ((pictures.float() / 255 - mean) / std).permute(0, 3, 1, 2)
    side, inputs = x.shape[-1] // 8, {"pixel_values": x}
    if kind.startswith("siglip2"):
        patches = [
            x[:, :, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8].permute(0, 2, 3, 1).flatten(1)
            for i in range(side)
            for j in range(side)
        ]
        mask, shapes = torch.ones(len(x), side**2), torch.tensor([[side, side]] * len(x))
        inputs = {"pixel_attention_mask": mask, "spatial_shapes": shapes}
        inputs["pixel_values"] = torch.stack(patches, 1)
    elif kind.startswith(("siglip", "clip")):
        inputs["interpolate_pos_encoding"] = True
    with torch.no_grad():
        out = tower(**inputs, output_hidden_states=True)
    states = out.last_hidden_state if layer == -1 else out.hidden_states[layer]
    return states[:, -side * side :]


def pictures(size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)


def make(path: Path | str = "", camera: CameraConfig = CAMERA, **more: Any) -> TowerEncoder:
    return TowerEncoder(TowerConfig(path=str(path), **more), camera, None).eval()


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("layer", [-1, -2, 1])
def test_equals_the_tower_itself(tmp_path: Path, kind: str, layer: int) -> None:
    tower, x = checkpoint(tmp_path, kind), pictures()
    encoder = make(tmp_path, layer=layer)
    wanted = oracle(tower, kind, x, layer)
    assert wanted.shape == (2, 16, 16) == (2, encoder.tokens, encoder.channels)
    torch.testing.assert_close(encoder(x).tokens, wanted, atol=1e-5, rtol=1e-5)
    assert len(encoder.layer_list) == {-1: 3, -2: 2, 1: 1}[layer]


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("layer", [-1, -2])
def test_a_whole_checkpoint_gives_its_vision_half(tmp_path: Path, kind: str, layer: int) -> None:
    """In one file or in many."""
    whole, x = checkpoint(tmp_path, kind), pictures()
    tower = getattr(transformers, WHOLE[kind]).from_pretrained(tmp_path).eval()
    wanted = oracle(tower, kind, x, layer)
    torch.testing.assert_close(make(tmp_path, layer=layer)(x).tokens, wanted, atol=1e-5, rtol=1e-5)
    whole.save_pretrained(tmp_path / "cut", max_shard_size="10KB")
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    torch.testing.assert_close(make(tmp_path / "cut", layer=layer)(x).tokens, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
def test_other_sizes_are_interpolated(tmp_path: Path, kind: str) -> None:
    tower, x = checkpoint(tmp_path, kind), pictures(48)
    encoder = make(tmp_path, dataclasses.replace(CAMERA, size=48))
    assert encoder.tokens == 36
    torch.testing.assert_close(encoder(x).tokens, oracle(tower, kind, x, -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
def test_its_config_rebuilds_it_without_the_folder(tmp_path: Path, kind: str) -> None:
    checkpoint(tmp_path, kind)
    first = make(tmp_path, layer=-2)
    plain = first.config_dict()
    assert plain == json.loads(json.dumps(plain)) and plain["num_hidden_layers"] == 3
    assert str(tmp_path) not in json.dumps(plain)
    second = make(config=plain, layer=-2)
    assert second.config_dict() == plain
    x = pictures()
    assert not torch.allclose(first(x).tokens, second(x).tokens, atol=1e-3)  # random so far
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(x).tokens, second(x).tokens)


def test_with_path_and_config_the_path_is_read(tmp_path: Path) -> None:
    """A saved model whose tower was frozen names the folder and holds the config."""
    checkpoint(tmp_path, "dinov2")
    first = make(tmp_path)
    x = pictures()
    torch.testing.assert_close(make(tmp_path, config=first.config_dict())(x).tokens, first(x).tokens)


@pytest.mark.parametrize("kind", CONFIGS)
def test_normalisation_is_the_family_s_or_the_checkpoint_s_own(tmp_path: Path, kind: str) -> None:
    checkpoint(tmp_path, kind)
    encoder = make(tmp_path)
    assert torch.equal(
        torch.stack([encoder.normalise.mean, encoder.normalise.std]), torch.stack(normalised(kind))
    )
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": own}))
    torch.testing.assert_close(make(tmp_path).normalise.mean, torch.tensor(own["image_mean"]))
    own["image_std"] = [0.7, 0.8, 0.9]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    torch.testing.assert_close(make(tmp_path).normalise.std, torch.tensor(own["image_std"]))


def test_points_and_grid() -> None:
    config = TowerConfig(config={"model_type": "dinov2", **CONFIGS["dinov2"]})
    encoder = TowerEncoder(config, CameraConfig("front", 32, points=3, grid=2), 6)
    seen = encoder(pictures(), torch.randn(2, 6))
    assert seen.tokens.shape == (2, 7, 16) and seen.maps.shape == (2, 3, 4, 4)
    assert [type(part).__name__ for part in encoder.head_list] == ["LayerNorm"]
    assert encoder.connector_modules == [encoder.points]


@pytest.mark.parametrize("kind", CONFIGS)
def test_training_gives_what_acting_gives(kind: str) -> None:
    """Nothing is dropped or shaken in training (DINOv3 by itself would shake the places)."""
    encoder = make(config={"model_type": kind, **CONFIGS[kind]})
    x = pictures()
    torch.testing.assert_close(encoder.train()(x).tokens, encoder.eval()(x).tokens)


def test_a_picture_that_patches_do_not_fill_is_the_tower_s_own_size_or_nothing() -> None:
    odd = {"model_type": "siglip_vision_model", **CLASSIC, "image_size": 35}
    encoder = make(camera=dataclasses.replace(CAMERA, size=35), config=odd)  # as SigLIP's 384 by 14
    assert encoder(pictures(35)).tokens.shape[1] == encoder.tokens == 16
    with pytest.raises(BadInput, match=r"size 36 cannot be cut .* 8 pixels: give 32 or 40 \(trained at 35\)"):
        make(camera=dataclasses.replace(CAMERA, size=36), config=odd)


def _without(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _edit(folder: Path, **more: Any) -> None:
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, **more}))


def _shard(folder: Path) -> None:
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="10KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    sorted(folder.glob("model-*.safetensors"))[0].unlink()


BROKEN: dict[str, tuple[Any, str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "there is no config.json in"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json in .* is no JSON"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "must be a mapping"),
    "unknown family": (lambda f: _edit(f, model_type="resnet"), "model_type 'resnet' is no vision tower"),
    "misspelt family": (lambda f: _edit(f, model_type="dinov22"), "did you mean 'dinov2'"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no model.safetensors"),
    "missing shard": (_shard, r"1 of \d+ weight files are missing in .*: model-00001-of"),
    "cut file": (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), "cannot load"),
    "missing weight": (
        lambda f: _without(f, "encoder.layer.1.norm1.weight"),
        "lacks 1 of the tower's weights, 'encoder.layer.1.norm1.weight' first",
    ),
    "wrong shape": (
        lambda f: _edit(f, hidden_size=32),
        r"has the shape \[.*16.*\], its config.json asks for \[.*32.*\]",
    ),
    "wrong type": (lambda f: _edit(f, hidden_size="wide"), "hidden_size"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_one_line(tmp_path: Path, name: str) -> None:
    checkpoint(tmp_path, "dinov2")
    make(tmp_path)  # it was whole before
    damage, said = BROKEN[name]
    damage(tmp_path)
    with pytest.raises(BadInput, match=said) as error:
        make(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"hidden_size": 16}, "image.encoder.config: model_type None is no vision tower"),
        ({"model_type": "dinov2", "hiden_size": 16}, "unknown config key 'hiden_size'.*'hidden_size'"),
        ({"model_type": "clip", "vision_config": {"hiden_size": 1}}, "unknown config key 'hiden_size'"),
        ({"model_type": "siglip_vision_model", **CLASSIC, "num_attention_heads": 3}, "divisible"),
        ({"model_type": "siglip_vision_model", **CLASSIC, "image_size": [32, 16]}, "size must be square"),
    ],
)
def test_a_wrong_config_is_one_line(config: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        make(config=config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layer", [0, 4, -4])
def test_a_layer_that_is_not_there(layer: int) -> None:
    with pytest.raises(BadInput, match=f"image.encoder.layer {layer}: this tower has 3 layers"):
        make(config={"model_type": "dinov2", **CONFIGS["dinov2"]}, layer=layer)


def test_neither_a_folder_nor_a_model() -> None:
    with pytest.raises(BadInput, match="there is no folder nowhere/at-all") as error:
        make("nowhere/at-all")
    assert "\n" not in str(error.value)
