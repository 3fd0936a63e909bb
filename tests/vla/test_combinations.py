"""Every encoder with every connector and every fusion: what holds for one holds for all."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny import raw_batch, tiny, tiny_image

from vla.configuration import (
    AlignmentConfig,
    AudioConfig,
    CameraConfig,
    ConvConfig,
    CrossAttentionConfig,
    HistoryConfig,
    ImageConfig,
    IntermediateConfig,
    LateConfig,
    LinearConfig,
    LogMelConfig,
    MLPConfig,
    NativeConfig,
    NativeFusionConfig,
    PerceiverConfig,
    QFormerConfig,
    TowerConfig,
    UnifiedConfig,
    VitConfig,
    WordsConfig,
)
from vla.generation import generate
from vla.model import VLA

CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
ENCODERS: dict[str, Any] = {
    "conv": ConvConfig(stem=8, width=16, deep=16),
    "vit": VitConfig(width=16, layers=1, heads=2, mlp=32, patch=8),
    "tower": TowerConfig(config=CLIP),
    "native": NativeConfig(patch=8),
}
CONNECTORS: dict[str, Any] = {
    "linear": LinearConfig(),
    "linear_budget": LinearConfig(tokens=2),
    "mlp": MLPConfig(),
    "q_former": QFormerConfig(tokens=3, width=16, heads=2),
    "perceiver": PerceiverConfig(tokens=3),
}
FUSIONS: dict[str, Any] = {
    "unified": UnifiedConfig(),
    "cross_attention": CrossAttentionConfig(heads=4, mlp=32),
    "intermediate": IntermediateConfig(tokens=3, pool=2, hidden=32),
    "late": LateConfig(),
    "native": NativeFusionConfig(),
}
AUDIO = AudioConfig(LogMelConfig(width=16, layers=1, heads=2), PerceiverConfig(tokens=2), seconds=1.0)


def grid() -> Iterator[tuple[str, str, str]]:
    for encoder in ENCODERS:
        for connector in CONNECTORS:
            for fusion in FUSIONS:
                if (encoder == "native") != (connector == "linear") and encoder == "native":
                    continue
                if fusion == "native" and encoder != "native":
                    continue
                yield encoder, connector, fusion


def build(encoder: str, connector: str, fusion: str, kind: str = "parallel", **parts: Any) -> Any:
    points = encoder != "native"
    return tiny(
        kind,
        image=tiny_image(ENCODERS[encoder], points),
        connector=CONNECTORS[connector],
        fusion=FUSIONS[fusion],
        **parts,
    )


def with_sound(batch: dict[str, Any], lengths: tuple[int, ...] = (16_000, 0, 8_000, 4_000)) -> dict[str, Any]:
    audio = torch.randn(len(lengths), 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    return {**batch, "audio": audio, "audio_length": torch.tensor(lengths)}


@pytest.mark.parametrize(("encoder", "connector", "fusion"), grid())
def test_every_combination_learns(encoder: str, connector: str, fusion: str) -> None:
    model, processor = build(encoder, connector, fusion, audio=AUDIO)
    batch = with_sound(processor.batch(raw_batch()))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(8):
        loss, _ = model.train().loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    ids = generate(model.eval(), batch).ids
    assert ids.shape == (4, 3 * 6)
    assert all(i in model.vocabulary.action_range for i in ids.flatten().tolist())


@pytest.mark.parametrize("kind", ["parallel", "autoregressive"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_cached_equals_uncached(fusion: str, kind: str) -> None:
    model, processor = build("native" if fusion == "native" else "vit", "linear", fusion, kind, audio=AUDIO)
    _open_gates(model)
    batch = with_sound(processor.batch(raw_batch()))
    batch["image_mask"] = {"wrist": torch.tensor([True, False, True, True])}
    assert torch.equal(generate(model, batch).ids, generate(model, batch, use_cache=False).ids)


@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_absent_changes_nothing(fusion: str, connector: str) -> None:
    """...whatever stands in its place, and what is there still counts."""
    if fusion == "native" and connector != "linear":
        pytest.skip("raw patches take no connector")
    model, processor = build("native" if fusion == "native" else "conv", connector, fusion, audio=AUDIO)
    _open_gates(model)
    batch = with_sound(processor.batch(raw_batch()))
    there = torch.tensor([True, False, True, False])
    batch["image_mask"] = {"wrist": there}
    other = {**batch, "images": {**batch["images"], "wrist": batch["images"]["wrist"].flip(0)}}
    other["audio"] = batch["audio"].flip(0)
    with torch.no_grad():
        one, two = model(batch)[0], model(other)[0]
    same = (one - two).abs().flatten(1).amax(1) < 1e-6
    assert same.tolist() == [False, True, False, False]  # only sample 1 has neither picture nor sound


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_sample_alone_equals_itself_in_a_batch(fusion: str) -> None:
    model, processor = build("native" if fusion == "native" else "conv", "linear", fusion, audio=AUDIO)
    _open_gates(model)
    batch = with_sound(processor.batch(raw_batch()))
    batch["image_mask"] = {"wrist": torch.tensor([True, False, True, False])}
    with torch.no_grad():
        whole = model(batch)[0]
        for i in range(4):
            torch.testing.assert_close(model(_one(batch, i))[0][0], whole[i], atol=1e-5, rtol=1e-4)


def test_a_fresh_cross_attention_leaves_the_backbone_as_it_was() -> None:
    """Exactly: the hidden states are those of words and state alone."""
    model, processor = build("conv", "linear", "cross_attention")
    batch = processor.batch(raw_batch())
    with torch.no_grad():
        context = model.encode(batch).contexts[0]
        answers = model.decoder.embed(4, None)
        gated = model.read(context, answers)
        plain = model.backbone(
            torch.cat([context.tokens.x, answers], 1), model.attention_mask(context.tokens, 3)
        )
    assert context.before
    assert torch.equal(gated, plain[:, -3:])
    assert {name for name, _ in context.names} == {"text", "state"}
    _open_gates(model)
    with torch.no_grad():
        assert not torch.allclose(model.read(model.encode(batch).contexts[0], answers), gated)


def test_late_fusion_with_one_picture_there_is_that_pictures_prediction() -> None:
    model, processor = build("conv", "linear", "late")
    batch = processor.batch(raw_batch())
    batch["image_mask"] = {"wrist": torch.zeros(4, dtype=torch.bool)}
    with torch.no_grad():
        combined, prefix = model(batch)
        front = model.decoder.logits(model.read(prefix.contexts[0], model.decoder.embed(4, None)))
    torch.testing.assert_close(combined.softmax(-1), front.softmax(-1), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("reduce", ["none", "pool", "keyframes"])
@pytest.mark.parametrize("fusion", ["unified", "late"])
def test_the_past_is_seen_and_a_past_that_is_not_there_is_not(reduce: str, fusion: str) -> None:
    model, processor = build(
        "conv", "linear", fusion, history=HistoryConfig(frames=4, stride=2, reduce=reduce, keep=2)
    )
    batch = processor.batch({**raw_batch(), "images": {}})
    views = {
        name: torch.randint(0, 256, (4, 4, size, size, 3), dtype=torch.uint8)
        for name, size in (("front", 32), ("wrist", 16))
    }
    batch["images"] = views
    other = {
        **batch,
        "images": {name: torch.cat([v[:, :1], v[:, 1:].flip(0)], 1) for name, v in views.items()},
    }
    gone = torch.tensor([[True, False, False, False]]).expand(4, 4)
    with torch.no_grad():
        assert not torch.allclose(model(batch)[0], model(other)[0], atol=1e-5)
        batch["image_mask"] = other["image_mask"] = {"front": gone, "wrist": gone}
        torch.testing.assert_close(model(batch)[0], model(other)[0], atol=1e-5, rtol=1e-4)


def test_words_of_the_backbone() -> None:
    """Words as tokens of their own: their padding changes nothing."""
    model, processor = tiny(text=WordsConfig(max_length=10))
    batch = processor.batch(raw_batch())
    other = {**batch, "text": torch.where(batch["text_mask"], batch["text"], 5)}
    with torch.no_grad():
        torch.testing.assert_close(model(batch)[0], model(other)[0])
        shuffled = {**batch, "text": batch["text"].flip(0), "text_mask": batch["text_mask"].flip(0)}
        assert not torch.allclose(model(batch)[0], model(shuffled)[0])


def test_one_encoder_may_serve_all_cameras() -> None:
    cameras = (CameraConfig("front", 32, 2, 2), CameraConfig("wrist", 32, 2, 2))
    model, processor = tiny(image=ImageConfig(cameras, ENCODERS["conv"], shared=True))
    assert "wrist" not in model.senses.encoders and "wrist" in model.senses.connect
    loss, _ = model.loss(processor.batch(raw_batch()))
    loss.backward()
    assert all(p.grad is not None for p in model.senses.encoders["front"].parameters())


def _one(batch: dict[str, Any], i: int) -> dict[str, Any]:
    return {k: _one(v, i) if isinstance(v, dict) else v[i : i + 1] for k, v in batch.items()}


def _open_gates(model: VLA) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith(".gate"):
            parameter.data.fill_(0.7)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_alignment_draws_matching_senses_together(kind: str) -> None:
    pairs = (("image", "text"), ("audio", "text"), ("image", "audio"))
    model, processor = tiny(audio=AUDIO, alignment=AlignmentConfig(pairs, kind, 16, 1.0))  # type: ignore[arg-type]
    batch = with_sound(processor.batch(raw_batch()), (16_000, 12_000, 8_000, 0))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(60):
        loss, scalars = model.loss(batch)
        if step == 0:
            first = scalars
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for pair in ("image_text", "audio_text", "image_audio"):
        assert scalars[f"align_{pair}"] < first[f"align_{pair}"]
        assert scalars[f"align_{pair}_accuracy"] == 1.0
