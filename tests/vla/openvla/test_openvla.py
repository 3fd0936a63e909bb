"""A checkpoint in OpenVLA's layout, loaded here, says and does what the original does."""

import dataclasses
import json
import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("timm")
pytest.importorskip("transformers")

from openvla_folder import INSTRUCTIONS, Published, edit, norm_stats, observe, picture
from openvla_reference import BF16_MEAN, EMPTY, FIRST, ROWS, SIZE, VOCABULARY, actions_of, prompt_of
from PIL import Image

from vla.encoders.image import resize_to
from vla.errors import BadInput
from vla.generation import generate
from vla.model import VLA
from vla.pretrained import load, load_processor, save
from vla.processor import Processor

CASES = [
    (seed, task, key)
    for seed, (task, key) in enumerate(
        (task, key) for task in INSTRUCTIONS for key in ("bridge_orig", "fractal", "narrow")
    )
]


def test_tokens_and_actions_are_the_originals(published: Published, loaded: tuple[VLA, Processor]) -> None:
    model, processor = loaded
    asked = [observe(picture(seed), task, key) for seed, task, key in CASES]
    ids = generate(model, processor.batch(asked)).ids  # all in one batch; the original takes one by one
    seen = set()
    for mine, (seed, task, key) in zip(ids, CASES, strict=True):
        said, actions, scores = published.predict(picture(seed), task, key)
        # The original's choice is free: that it says actions is its own doing, and no tie decides.
        assert scores.shape[1] == ROWS
        assert all(FIRST <= i < VOCABULARY for i in said)
        best = scores.topk(2).values
        assert (best[:, 0] - best[:, 1]).min() > 1e-4
        assert mine.flatten().tolist()[: len(said)] == said
        found = processor.decode(mine, None, key)
        assert found.shape == (1, len(actions))
        np.testing.assert_allclose(found[0], actions, rtol=1e-6, atol=1e-6)
        seen.add(tuple(said))
    assert len(seen) >= len(CASES) - 1  # pictures and sentences matter


def test_scores_are_the_originals_with_and_without_a_cache(
    published: Published, loaded: tuple[VLA, Processor]
) -> None:
    model, processor = loaded
    said, _, scores = published.predict(picture(3), INSTRUCTIONS[1], "bridge_orig")
    batch = processor.batch([observe(picture(3), INSTRUCTIONS[1], "bridge_orig")])
    with torch.no_grad():
        logits, _ = model({**batch, "targets": torch.tensor(said).view(1, -1, 1)})
    torch.testing.assert_close(logits[0, :, 0], scores[:, FIRST:VOCABULARY], rtol=0, atol=1e-4)
    slow = generate(model, batch, use_cache=False).ids
    assert slow.flatten().tolist() == said == generate(model, batch).ids.flatten().tolist()


@pytest.mark.parametrize(
    "part",
    [
        "senses.encoders.front.dino.blocks.1.attn.qkv.weight",
        "senses.encoders.front.dino.reg_token",
        "senses.encoders.front.siglip.blocks.2.mlp.fc2.weight",
        "senses.connect.front.project.2.weight",
        "backbone.model.model.layers.0.self_attn.k_proj.weight",
    ],
)
def test_each_part_has_its_say(loaded: tuple[VLA, Processor], part: str) -> None:
    """So the scores would not be equal if a part were not read."""
    model, processor = loaded
    batch = processor.batch([observe(picture(0), INSTRUCTIONS[0], "bridge_orig")])
    batch["targets"] = torch.full((1, 7, 1), FIRST + 9)
    weight = model.get_parameter(part)
    before = weight.detach().clone()
    with torch.no_grad():
        one, _ = model(batch)
        weight += torch.randn_like(weight) * before.std()
        other, _ = model(batch)
        weight.copy_(before)
    assert (one - other).abs().max() > 1e-2


def test_the_prompt_is_read_as_by_the_originals_tokenizer(
    published: Published, loaded: tuple[VLA, Processor]
) -> None:
    ids, mask = loaded[1].words(list(INSTRUCTIONS))
    for row, there, task in zip(ids, mask, INSTRUCTIONS, strict=True):
        wanted = published.tokenizer(prompt_of(task)).input_ids
        assert row[there].tolist() == wanted
        assert wanted[0] == 1
        assert wanted[-1] != EMPTY  # so the original appends it, and so does the decoder's start
    assert loaded[0].config.decoder.start == EMPTY


@pytest.mark.parametrize(("height", "width"), [(224, 224), (120, 160), (40, 30)])
def test_other_sizes_are_resized_as_by_the_original(
    published: Published, loaded: tuple[VLA, Processor], height: int, width: int
) -> None:
    """Two levels of 255 at most in few pixels, which the scores hardly feel."""
    model, processor = loaded
    given = picture(5, height, width)
    batch = processor.batch([observe(given, INSTRUCTIONS[0], "bridge_orig")])
    pillow = np.asarray(Image.fromarray(given).resize((SIZE, SIZE), Image.Resampling.BICUBIC)).astype(int)
    off = np.abs(batch["images"]["front"][0].numpy().astype(int) - pillow)
    assert off.max() <= 2
    assert (off > 0).mean() < 0.02
    said, _, scores = published.predict(given, INSTRUCTIONS[0], "bridge_orig")
    with torch.no_grad():
        logits, _ = model({**batch, "targets": torch.tensor(said).view(1, -1, 1)})
    assert (logits[0, :, 0] - scores[:, FIRST:VOCABULARY]).abs().max() < 0.02
    assert generate(model, batch).ids.flatten().tolist() == said


def test_bicubic_is_pillows_even_of_noise() -> None:
    given = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(given).resize((SIZE, SIZE), Image.Resampling.BICUBIC)).astype(int)
    off = {
        mode: np.abs(resize_to(torch.from_numpy(given)[None], SIZE, SIZE, mode)[0].numpy() - pillow).max()
        for mode in ("bicubic", "bilinear")
    }
    assert off["bicubic"] <= 2
    assert off["bilinear"] > 20


def test_letterbox_pads_with_the_mean_colour(copy: Path) -> None:
    edit(copy, "config.json", lambda raw: raw.update(image_resize_strategy="letterbox"))
    processor = load_processor(copy)
    for height, width in ((60, 90), (101, 60)):
        given = picture(2, height, width)
        up, left = max(width - height, 0) // 2, max(height - width, 0) // 2
        padded = np.full((height + 2 * up, width + 2 * left, 3), (123, 116, 103), np.uint8)
        padded[up : up + height, left : left + width] = given
        wanted = Image.fromarray(padded).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        found = processor.batch([observe(given, "lift it", "narrow")])["images"]["front"][0].numpy()
        assert np.abs(found.astype(int) - np.asarray(wanted)).max() <= 2


def test_colours_come_from_the_preprocessor_or_are_the_usual(
    copy: Path, loaded: tuple[VLA, Processor]
) -> None:
    mean = loaded[0].senses.camera("front").get_buffer("normalise_dino.mean")
    torch.testing.assert_close(mean, torch.tensor(BF16_MEAN))
    (copy / "preprocessor_config.json").unlink()
    usual = load(copy)[0].senses.camera("front").get_buffer("normalise_dino.mean")
    torch.testing.assert_close(usual, torch.tensor([0.485, 0.456, 0.406]))


def test_targets_are_the_ids_whose_actions_they_are(
    published: Published, loaded: tuple[VLA, Processor]
) -> None:
    model, processor = loaded
    keys, rng = list(published.stats), np.random.default_rng(0)
    # Not FIRST, which has the same centre as the next.
    ids = [rng.integers(FIRST + 1, VOCABULARY, 7).tolist() for _ in keys]
    actions = np.zeros((len(keys), 1, 7), np.float32)
    for i, key in enumerate(keys):
        stats = published.stats[key]["action"]
        dim = len(stats["q01"])
        actions[i, 0, :dim] = actions_of(ids[i][:dim], stats)
    raw = {
        "images": {"front": np.stack([picture(i) for i in range(3)])},
        "task": list(INSTRUCTIONS[:3]),
        "robot": keys,
        "actions": actions,
    }
    batch = processor.batch(raw)
    mask = batch["target_mask"][..., 0]
    assert mask.sum(1).tolist() == [7, 7, 6]
    assert torch.equal(batch["targets"][..., 0][mask], torch.tensor(ids)[mask])
    loss, _ = model.loss(batch)
    loss.backward()
    for name in ("encoders.front.siglip.patch_embed.proj.weight", "connect.front.project.0.weight"):
        gradient = model.senses.get_parameter(name).grad
        assert gradient is not None and gradient.abs().max() > 0
    model.zero_grad(set_to_none=True)


def convert(file: Path, dtype: torch.dtype) -> None:
    held = load_file(file)
    file.unlink()
    save_file({name: tensor.to(dtype) for name, tensor in held.items()}, file)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_in_our_own_layout_it_is_the_same(copy: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    for file in copy.glob("*.safetensors"):
        convert(file, dtype)
    model, processor = load(copy)
    assert {p.dtype for p in model.parameters()} == {dtype}
    save(tmp_path / "ours", model, processor)
    shutil.rmtree(copy)
    again, its = load(tmp_path / "ours")
    asked = [observe(picture(seed), task, key) for seed, task, key in CASES]
    assert torch.equal(generate(model, processor.batch(asked)).ids, generate(again, its.batch(asked)).ids)
    ids = torch.full((1, 1, 7), FIRST + 100)
    for key in ("bridge_orig", "fractal", "narrow"):
        np.testing.assert_array_equal(processor.decode(ids, None, key), its.decode(ids, None, key))


def test_bfloat16_is_the_originals_bfloat16(copy: Path, published: Published) -> None:
    """As published. Rounding hides what is finer; scores are about 4."""
    for file in copy.glob("*.safetensors"):
        convert(file, torch.bfloat16)
    model, processor = load(copy)
    original = dataclasses.replace(published, original=deepcopy(published.original).bfloat16())
    said, _, scores = original.predict(picture(3), INSTRUCTIONS[1], "bridge_orig")
    batch = processor.batch([observe(picture(3), INSTRUCTIONS[1], "bridge_orig")])
    with torch.no_grad():
        logits, _ = model({**batch, "targets": torch.tensor(said).view(1, -1, 1)})
    assert logits.dtype == torch.float32
    off = (logits[0, :, 0] - scores[:, FIRST:VOCABULARY]).abs()
    assert off.max() < 0.1


def test_one_data_set_needs_no_name_and_its_own_file_counts(copy: Path) -> None:
    only = {"mine": norm_stats(7)["fractal"]}
    (copy / "dataset_statistics.json").write_text(json.dumps(only))
    processor = load_processor(copy)
    ids = torch.arange(FIRST + 50, FIRST + 57).view(1, 1, 7)
    wanted = actions_of(ids.flatten().tolist(), only["mine"]["action"])
    for robot in ("", "mine"):
        np.testing.assert_allclose(processor.decode(ids, None, robot)[0], wanted, rtol=1e-6, atol=1e-6)
    with pytest.raises(BadInput, match=r"unknown robot 'bridge_orig'.*mine"):
        processor.decode(ids, None, "bridge_orig")
    (copy / "dataset_statistics.json").unlink()  # then those of config.json count
    assert list(load_processor(copy).joints) == ["bridge_orig", "fractal", "narrow"]


def test_of_several_data_sets_one_must_be_named(loaded: tuple[VLA, Processor]) -> None:
    processor = loaded[1]
    with pytest.raises(BadInput, match=r"does not say which robot.*bridge_orig, fractal, narrow"):
        processor.batch([observe(picture(0), "lift it")])
    with pytest.raises(BadInput, match=r"unknown robot 'bridge'.*did you mean 'bridge_orig'"):
        processor.batch([observe(picture(0), "lift it", "bridge")])


def test_a_prompt_that_is_too_long_is_refused(loaded: tuple[VLA, Processor]) -> None:
    with pytest.raises(BadInput, match="the model reads at most 95"):
        loaded[1].words(["z" * 200])
