"""A whole vision-language model inside a VLA: the same hidden vectors as by itself, and the same answers with
and without a cache. Tiny random models of `transformers`; patches come from its own picture processor."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent / "backbones"))

from families import IMAGE, PICTURED, SIDE
from test_vision import qwen

from vla.backbones.vision import VLMPictures
from vla.configuration import (
    BinsConfig,
    CameraConfig,
    DecoderConfig,
    ImageConfig,
    ProcessorConfig,
    TransformersConfig,
    VLAConfig,
    VLMVisionConfig,
    WordsConfig,
)
from vla.describe import dummy_batch
from vla.generation import generate
from vla.model import VLA
from vla.origin import with_own_sizes

QWEN = ("qwen2_5_vl", "qwen3_vl")
LENGTHS = (7, 4)
"""Words of the two samples' texts; what is left of the longest is masked."""


def whole(name: str, cameras: tuple[str, ...] = ("front",), **parts: Any) -> VLA:
    """A VLA of one tiny VLM, in evaluation mode, its numbers the same each time."""
    torch.manual_seed(0)
    usual: dict[str, Any] = {
        "vocabulary": 48,
        "image": ImageConfig(tuple(CameraConfig(c, SIDE, 0, 0) for c in cameras), VLMVisionConfig()),
        "text": WordsConfig(tokenizer="backbone", max_length=max(LENGTHS)),
        "state": None,
        "backbone": TransformersConfig(config=PICTURED[name], attention="causal"),
        "decoder": DecoderConfig(horizon=2, tokenizer=BinsConfig(count=16)),
        "processor": ProcessorConfig(relative=(False,) * 6),
        "order": ("images", "text", "audio", "state"),
    }
    model = VLA(VLAConfig(**(usual | parts))).eval()
    with torch.no_grad():  # norms and biases start at 1 and 0, where a mistake would not show
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def batch_of(model: VLA, seed: int = 0) -> dict[str, Any]:
    batch = dummy_batch(model.config, 2, seed=seed)
    batch["text_mask"] = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return batch


def prefix_pass(model: VLA, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """-> hidden vectors of all that was sensed [B, P, W], and which of it is there [B, P]."""
    [context] = model.encode(batch).contexts
    tokens = context.tokens
    hidden = model.backbone(
        tokens.x,
        model.attention_mask(tokens, 0),
        positions=model.places(context, 0),
        before=context.first_pass,
    )
    return hidden, tokens.full_mask()


@pytest.mark.parametrize("order", ["images first", "text first"])
@pytest.mark.parametrize("name", QWEN)
@torch.no_grad()
def test_what_was_sensed_is_what_the_model_itself_makes_of_it(name: str, order: str) -> None:
    senses = ("images", "text") if order == "images first" else ("text", "images")
    model = whole(name, order=(*senses, "audio", "state"))
    batch = batch_of(model)
    hidden, there = prefix_pass(model, batch)
    encoder = model.senses.camera("front")
    assert isinstance(encoder, VLMPictures)
    for i, length in enumerate(LENGTHS):  # one by one, as it is without padding
        place, text = torch.full((encoder.tokens,), IMAGE), batch["text"][i, :length]
        ids = torch.cat([place, text] if order == "images first" else [text, place])[None]
        given = qwen(name, model.backbone, encoder, batch["images"]["front"][i : i + 1], ids)  # type: ignore[arg-type]
        own = model.backbone.model.model(input_ids=ids, attention_mask=torch.ones_like(ids), **given)
        found, wanted = hidden[i, there[i]], own.last_hidden_state[0]
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("part", ["deep", "squares"])
@torch.no_grad()
def test_the_comparison_would_notice(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the deep features, or the places in the plane, the hidden vectors are others."""
    model = whole("qwen3_vl")
    batch = batch_of(model)
    right, _ = prefix_pass(model, batch)
    original = model.encode

    def without(batch: dict[str, Any]) -> Any:
        import dataclasses

        prefix = original(batch)
        empty = dataclasses.replace(prefix.contexts[0], **{part: type(getattr(prefix.contexts[0], part))()})
        return dataclasses.replace(prefix, contexts=[empty])

    monkeypatch.setattr(model, "encode", without)
    wrong, _ = prefix_pass(model, batch)
    assert (wrong - right).abs().max() > 1e-2 * right.abs().max()


@pytest.mark.parametrize("name", PICTURED)
def test_a_tower_is_given_pictures_of_its_own_size(name: str) -> None:
    """A camera of size 0, also next to one that has a size."""
    cameras = (CameraConfig("front", 0, 0, 0), CameraConfig("wrist", SIDE, 0, 0))
    image = ImageConfig(cameras, VLMVisionConfig())
    text, backbone = WordsConfig(tokenizer="backbone"), TransformersConfig(config=PICTURED[name])
    config = with_own_sizes(VLAConfig(vocabulary=48, image=image, text=text, backbone=backbone))
    front, wrist = (camera.size for camera in config.image.cameras)
    assert wrist == SIDE and front == (224 if name.startswith("qwen") else SIDE)
    assert VLA(config).senses.camera("front").tokens > 0


@pytest.mark.parametrize("kind", ["parallel", "autoregressive"])
@pytest.mark.parametrize("name", [*QWEN, "smolvlm"])
@torch.no_grad()
def test_cached_answers_are_the_same_with_and_without_a_camera(name: str, kind: str) -> None:
    decoder = DecoderConfig(kind=kind, horizon=2, tokenizer=BinsConfig(count=16))  # type: ignore[arg-type]
    model = whole(name, ("front", "wrist"), decoder=decoder)
    seen, answers = batch_of(model), []
    for absent in ((), ("front",), ("wrist",)):
        masks = {camera: torch.tensor([True, False]) for camera in absent}
        batch = {**seen, "image_mask": masks}
        cached, plain = generate(model, batch), generate(model, batch, use_cache=False)
        assert torch.equal(cached.ids, plain.ids)
        for camera in absent:  # what is not there has no say, whatever its pixels hold
            noise = {**seen["images"], camera: torch.zeros_like(seen["images"][camera])}
            noise[camera][0] = seen["images"][camera][0]
            torch.testing.assert_close(model({**batch, "images": noise})[0], model(batch)[0])
        answers.append(model({**batch})[0])
    assert not torch.allclose(answers[0][1], answers[1][1], atol=1e-3)  # but it has one where it is there
