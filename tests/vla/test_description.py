"""A description says what the model does: against a model that was really built and really ran."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import tiny_config, tiny_image
from torch.utils.flop_counter import FlopCounterMode

from vla.configuration import (
    AudioConfig,
    CameraConfig,
    CrossAttentionConfig,
    DecoderConfig,
    FastConfig,
    FlowConfig,
    HistoryConfig,
    ImageConfig,
    IntermediateConfig,
    LateConfig,
    LogMelConfig,
    NativeConfig,
    PartConfig,
    PerceiverConfig,
    ResidualConfig,
    SmallConfig,
    SplineConfig,
    StateConfig,
    TransformersConfig,
    TuningConfig,
    VitConfig,
    VLAConfig,
    VLMVisionConfig,
    WordsConfig,
)
from vla.describe import Description, describe, draw, dummy_batch, table
from vla.describe.meters import AliveMemory, tensors_in
from vla.describe.picture import NOTHING
from vla.errors import BadInput
from vla.generation import generate
from vla.model import VLA

sys.path.insert(0, str(Path(__file__).parent / "backbones"))

WORDS = 64
EAR = AudioConfig(LogMelConfig(width=16, layers=1, heads=2), PerceiverConfig(tokens=4, layers=1), seconds=0.5)
VIT = VitConfig(width=16, layers=1, heads=2, mlp=32)
FLOW = FlowConfig(horizon=3, width=16, mlp=32, steps=2)
GATED = CrossAttentionConfig(heads=4, mlp=32)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hearing": {"audio": EAR},
    "past": {"history": HistoryConfig(frames=4, reduce="pool", keep=2)},
    "key frames": {"history": HistoryConfig(frames=4, reduce="keyframes", keep=1)},
    "tiles": {"image": tiny_image(VIT, points=False, max_tiles=6)},
    "shared eyes": {"image": ImageConfig((CameraConfig("a", 32), CameraConfig("b", 32)), VIT, shared=True)},
    "robots": {"state": StateConfig(hidden=16, frequencies=2, robots=("one", "two"))},
    "gated": {"fusion": GATED, "audio": EAR},
    "joint": {"fusion": IntermediateConfig(tokens=5, hidden=32), "connector": PerceiverConfig(tokens=3)},
    "late": {"fusion": LateConfig()},
    "words": {"text": WordsConfig(max_length=9)},
    "one by one": {"kind": "autoregressive"},
    "in passes": {"decoder": DecoderConfig(kind="blockwise", horizon=4, block=2)},
    "spline": {"decoder": DecoderConfig(horizon=8, tokenizer=SplineConfig())},
    "residual": {"kind": "autoregressive", "decoder": DecoderConfig(tokenizer=ResidualConfig(levels=3))},
    "flow": {"decoder": FLOW},
    "gated flow": {"decoder": FLOW, "fusion": GATED},
}


def config(variant: str = "plain", **parts: Any) -> VLAConfig:
    return tiny_config(WORDS, **(VARIANTS[variant] | parts))


def marks(found: Description, number: int = 0) -> dict[tuple[str, str], str]:
    """(row, column) -> how the row attends to the column."""
    each = found.passes[number]
    rows, columns = [n for n, _ in each.segments], [n for n, _ in [*each.segments, *each.beside]]
    table = zip(rows, each.marks(), strict=True)
    return {(row, column): mark for row, line in table for column, mark in zip(columns, line, strict=True)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_dummy_batch_passes_through_the_model(variant: str) -> None:
    model = VLA(config(variant))
    batch = dummy_batch(model.config, 3)
    loss, _ = model.loss(batch)
    assert torch.isfinite(loss)
    same, other = dummy_batch(model.config, 3), dummy_batch(model.config, 3, seed=1)
    answer = "actions" if isinstance(model.config.decoder, FlowConfig) else "targets"
    assert torch.equal(batch[answer], same[answer])
    assert not torch.equal(batch[answer], other[answer])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_bill_is_that_of_a_real_action(variant: str) -> None:
    found, model = describe(config(variant)), VLA(config(variant)).eval()
    batch, caches, new_cache = dummy_batch(model.config), [], model.backbone.new_cache
    model.requires_grad_(False)

    def noted(**room: Any) -> Any:
        caches.append(new_cache())
        return caches[-1]

    model.backbone.new_cache = noted  # type: ignore[method-assign]
    with FlopCounterMode(display=False) as counter:
        generate(model, batch)
    assert found.flops == counter.get_total_flops()
    assert found.parameters == model.num_parameters()
    assert found.memory.weights == sum(p.nbytes for p in model.parameters())
    assert found.memory.kv_cache == sum(x.nbytes for cache in caches for x in tensors_in(cache))
    assert found.kv_tokens == sum(cache.layers[0][0].shape[2] for cache in caches)
    assert found.memory.activations > found.memory.kv_cache
    prefix = model.encode(batch)
    assert [each.segments[:-1] for each in found.passes] == [list(c.names) for c in prefix.contexts]
    assert {f.sense: f.tokens for f in found.flows} == {
        name: tokens.x.shape[1] for name, tokens in prefix.senses.tokens.items()
    }
    assert "other" not in {part.name for part in found.parts}  # every operation has an owner


def test_codes_of_variable_length_are_described_at_their_longest() -> None:
    """No tokenizer was fitted that could say when an answer is whole."""
    fast = DecoderConfig(kind="autoregressive", horizon=3, tokenizer=FastConfig(vocabulary=300))
    found, bins = describe(config(decoder=fast)), describe(config("one by one"))
    assert found.longest and not bins.longest
    assert found.passes[0].segments[-1] == ("answer", 2 * 3 * 6)
    assert found.flops > bins.flops and found.kv_tokens == found.passes[0].prefix + 36
    assert "at most" in table(found).split("a step")[1].splitlines()[0]
    assert marks(found)["answer", "answer"] == "causal"


def test_kv_cache_and_scores_against_arithmetic() -> None:
    found = describe(config())
    tokens = found.passes[0].prefix + 3  # three steps answered at once
    assert found.memory.kv_cache == 2 * 2 * tokens * 32 * 4  # two layers, keys and values, float32
    assert found.memory.scores == 4 * tokens**2 * 4  # four heads


def test_stages_of_each_sense() -> None:
    flows = {flow.sense: flow for flow in describe(config("past", audio=EAR)).flows}
    front = {name: (size.tokens, size.width) for name, size in flows["front"].stages.items()}
    each = 3 + 2 * 2
    assert front == {"encoder": (4 * each, 16), "history": (3 * each, 16), "connector": (3 * each, 32)}
    assert flows["audio"].stages["connector"].tokens == flows["audio"].tokens == 4
    assert flows["front"].raw == "4 frames of 32 x 32 px"


def test_shared_eyes_are_counted_once_and_used_twice() -> None:
    flows = {flow.sense: flow for flow in describe(config("shared eyes")).flows}
    assert flows["a"].stages["encoder"] == flows["b"].stages["encoder"]


def test_trained_and_frozen() -> None:
    frozen = PartConfig(train="frozen")
    tuning = TuningConfig(vision=frozen, language=PartConfig(train="last", layers=1))
    found = describe(config(tuning=tuning))
    parts = {part.name: part for part in found.parts}
    assert parts["vision"].trained == 0 < parts["vision"].parameters
    assert 0 < parts["language"].trained < parts["language"].parameters
    assert found.trained == sum(p.numel() for p in VLA(config(tuning=tuning)).parameters() if p.requires_grad)


def test_who_attends_to_whom() -> None:
    plain = marks(describe(config()))
    assert plain["text", "front"] == plain["front", "text"] == plain["answer", "state"] == "full"
    assert plain["front", "answer"] == "none" and plain["answer", "answer"] == "full"
    assert marks(describe(config("one by one")))["answer", "answer"] == "causal"
    flow = marks(describe(config("flow")))
    assert flow["answer", "answer"] == flow["answer", "front"] == "full" and flow["text", "answer"] == "none"
    beside = marks(describe(config("gated flow")))
    assert beside["text", "front"] == "gated" and beside["answer", "front"] == "none"
    gated = marks(describe(config("gated")))
    assert gated["text", "front"] == gated["answer", "audio"] == "gated" and ("front", "text") not in gated
    late = describe(config("late"))
    assert ("text", "wrist") not in marks(late, 0) and ("text", "front") not in marks(late, 1)
    assert set(marks(describe(config("joint")))) == {
        (a, b) for a in ("joint", "answer") for b in ("joint", "answer")
    }


def test_a_model_of_billions_is_described_without_building_it() -> None:
    big = SmallConfig(width=4096, layers=32, heads=32, mlp=11008)
    found = describe(config(backbone=big))
    assert found.parameters > 4e9 and not found.warnings
    language = {part.name: part for part in found.parts}["language"]
    tokens = found.passes[0].prefix + 3
    assert language.flops == pytest.approx(2 * language.parameters * tokens, rel=0.05)


def exploding(**parts: Any) -> VLAConfig:
    image = ImageConfig((CameraConfig("front", 384, 0, 0),), NativeConfig(patch=8, row_ends=False), **parts)
    return config(image=image)


def test_an_exploding_context_is_warned_of() -> None:
    assert describe(config()).warnings == []
    camera, prefix = describe(exploding()).warnings
    assert "'front' alone is 2,304 tokens" in camera and "grid" in camera and "tiles" not in camera
    assert "reads 2,307 tokens" in prefix
    tiled = describe(exploding(max_tiles=3)).warnings
    assert "'front' alone is 9,216 tokens" in tiled[0] and "max_tiles, now 3" in tiled[0]
    assert "attention scores take 1.3 GiB" in tiled[2]


def test_a_budget_ends_the_warning() -> None:
    image = ImageConfig((CameraConfig("front", 384, 0, 0),), VitConfig(width=16, layers=1, heads=2, mlp=32))
    warned = describe(config(image=image)).warnings
    assert "model/connector=perceiver" in warned[0]
    assert describe(config(image=image, connector=PerceiverConfig(tokens=16))).warnings == []


@pytest.mark.parametrize("family", ["llama", "smolvlm", "qwen2_5_vl", "llava_onevision"])
def test_models_of_transformers(family: str) -> None:
    """Also those whose code asks for values: which patches there are, how many rows."""
    found, real = describe(foreign(family)), VLA(foreign(family)).eval()
    assert found.parameters == found.trained == real.num_parameters()
    tokens = {
        name: each.x.shape[1] for name, each in real.encode(dummy_batch(real.config)).senses.tokens.items()
    }
    assert {flow.sense: flow.tokens for flow in found.flows} == tokens
    assert (
        found.memory.kv_cache == 3 * 2 * found.kv_tokens * 2 * 8 * 4
    )  # layers, k and v, heads, width of each


def foreign(family: str, **options: Any) -> VLAConfig:
    pytest.importorskip("transformers")
    from families import EVERY, PICTURED

    backbone = TransformersConfig(config=EVERY[family], **options)
    eyes = VLMVisionConfig() if family in PICTURED else VIT
    image = ImageConfig((CameraConfig("front", 32, 0, 0),), eyes)
    text = WordsConfig(tokenizer="backbone", max_length=6)
    return config(image=image, backbone=backbone, text=text)


def test_weights_are_counted_in_their_type() -> None:
    sizes = {
        name: {part.name: part for part in describe(foreign("llama", **options)).parts}["language"].bytes
        for name, options in {"fp32": {}, "bf16": {"dtype": "bfloat16"}, "4bit": {"quantize": "4bit"}}.items()
    }
    assert 2 * sizes["bf16"] == sizes["fp32"]
    assert sizes["4bit"] < sizes["fp32"] / 2  # embeddings and norms stay as they are


def test_a_checkpoint_is_described_by_its_config_alone(tmp_path: Path) -> None:
    whole = foreign("llama")
    assert isinstance(whole.backbone, TransformersConfig)
    (tmp_path / "config.json").write_text(json.dumps(dict(whole.backbone.config)))
    by_path = dataclasses.replace(whole, backbone=TransformersConfig(path=str(tmp_path)))
    assert describe(by_path).to_dict() == describe(whole).to_dict()
    nowhere = dataclasses.replace(whole, backbone=TransformersConfig(path=str(tmp_path / "none")))
    with pytest.raises(BadInput, match=r"backbone.path=.*has no config.json"):
        describe(nowhere)


def test_memory_alive_at_once() -> None:
    with AliveMemory() as memory:
        a = torch.zeros(1000)
        b = a + 1
        b.add_(1)
        c = b.view(10, 100)[2:]  # nothing new
        assert memory.now == 8000
        del a
        d = torch.cat([b, b])
        assert memory.now == 12_000
        del b, d
        assert memory.now == 4000  # `c` keeps it
        del c
    assert (memory.now, memory.peak) == (0, 12_000)


def test_the_picture(tmp_path: Path) -> None:
    pictures = {}
    for variant in ("plain", "gated", "late", "one by one", "flow", "gated flow"):
        draw(describe(config(variant)), tmp_path / "it.png")
        with Image.open(tmp_path / "it.png") as picture:
            pictures[variant] = picture.convert("RGB")
    plain, slope = pictures["plain"], pictures["one by one"]
    colours = {colour for _, colour in plain.getcolors(10**6) or ()}
    assert NOTHING in colours and len({c for c in colours if max(c) - min(c) > 60}) >= 4
    right = plain.width - 20  # within the answers' column
    assert plain.getpixel((right, plain.height // 2)) == NOTHING
    assert plain.getpixel((right, plain.height - 20)) not in (NOTHING, (255, 255, 255))
    assert (
        slope.getpixel((slope.width - 20, slope.height - 100)) == NOTHING
    )  # a causal answer sees no later one
    assert pictures["late"].width > 1.5 * plain.width  # a panel a pass
    assert pictures["gated"].width > plain.width
    flow = pictures["flow"]
    assert flow.getpixel((flow.width - 20, flow.height - 20)) == plain.getpixel((right, plain.height - 20))
    assert flow.getpixel((flow.width - 20, flow.height // 2)) == NOTHING
    aside = pictures[
        "gated flow"
    ]  # its lowest rows are the expert's, its last columns are looked at by gates
    last = {aside.getpixel((aside.width - 20 - x, aside.height - 20)) for x in range(8)}
    stripes = {aside.getpixel((aside.width - 20 - x, aside.height // 2)) for x in range(8)}
    assert last == {NOTHING} and len(stripes) == 2


def test_the_table_says_it_all() -> None:
    text = table(describe(config("gated")))
    for part in (
        "front",
        "connector",
        "language",
        "KV-cache",
        "FLOPs",
        "gated",
        "full",
    ):
        assert part in text
    assert all(len(line) <= 160 for line in text.splitlines())
    assert "warning: camera 'front' alone" in table(describe(exploding()))
