"""What can be wrong with a folder in OpenVLA's layout is said in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("timm")
pytest.importorskip("transformers")

from openvla_folder import edit
from openvla_reference import EMPTY

from vla.errors import BadInput
from vla.pretrained import load


def tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    """Change the weights of a checkpoint, all in one file."""

    def apply(folder: Path) -> None:
        held: dict[str, torch.Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            held |= load_file(file)
            file.unlink()
        (folder / "model.safetensors.index.json").unlink()
        change(held)
        save_file(held, folder / "model.safetensors")

    return apply


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, "config.json", lambda raw: raw.update(changes))


def statistics(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda folder: edit(folder, "dataset_statistics.json", change)


def drop(held: dict[str, torch.Tensor], name: str) -> None:
    del held[name]


SHARD = "model-00002-of-00002.safetensors"
CUBE = "language_model.model.layers.1.mlp.up_proj.weight"
NORM = "vision_backbone.fused_featurizer.blocks.3.norm1.weight"


def damage(folder: Path) -> None:
    (folder / SHARD).unlink()
    (folder / SHARD).write_bytes(b"x" * 99)


def no_statistics(folder: Path) -> None:
    (folder / "dataset_statistics.json").unlink()
    config(norm_stats=None)(folder)


def other_tokenizer(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda folder: edit(folder, "tokenizer.json", change)


def add_words(raw: dict[str, Any]) -> None:
    more = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    raw["added_tokens"] += [{"id": 32_001 + i, "content": f"<more{i}>", **more} for i in range(100)]


def swap_words(raw: dict[str, Any]) -> None:
    vocabulary = raw["model"]["vocab"]
    other = next(word for word, i in vocabulary.items() if i == EMPTY - 1)
    vocabulary[other], vocabulary["▁"] = vocabulary["▁"], vocabulary[other]


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda folder: (folder / SHARD).unlink(), f"lacks the shard {SHARD}.*1 of 2 missing"),
        (damage, f"cannot read the weights .*{SHARD}"),
        (tensors(lambda held: drop(held, CUBE)), f"lack 1 tensors .first: '{CUBE}'"),
        (tensors(lambda held: drop(held, NORM)), f"lack 1 tensors .first: '{NORM}'"),
        (
            tensors(lambda held: held.update({CUBE: torch.zeros(5, 48)})),
            rf"'{CUBE}' has shape \[5, 48\] in the weights, and \[96, 48\]",
        ),
        (
            tensors(lambda held: held.update({"action_moe.gate": torch.zeros(2)})),
            "hold 1 tensors that OpenVLA has not .first: 'action_moe.gate'",
        ),
        (tensors(lambda held: drop(held, "projector.fc1.weight")), "lack 'projector.fc1.weight'"),
        (
            tensors(lambda held: held.update({k: v.half() for k, v in held.items()})),
            "weights are F16.*BF16, F32",
        ),
        (config(image_sizes=[70, 70]), "pos_embed' has shape"),
        (config(image_sizes=[60, 60]), "size must be a multiple of 14"),
        (config(image_sizes=[56]), "two equal numbers"),
        (config(image_resize_strategy="naive"), "image_resize_strategy cannot be 'naive'"),
        (
            config(timm_model_ids=["vit_large_patch14_reg4_dinov2.lvd142", "vit_so400m_patch14_siglip_224"]),
            "did you mean 'vit_large_patch14_reg4_dinov2.lvd142m'",
        ),
        (
            config(use_fused_vision_backbone=False, vision_backbone_id="siglip-vit-so400m"),
            "vision backbone is 'siglip-vit-so400m'; only DINOv2 and SigLIP together",
        ),
        (config(timm_override_act_layers=["quick_gelu", None]), "timm_override_act_layers must be null"),
        (config(text_config={"model_type": "phi", "vocab_size": 9}), "text_config must describe.*llama"),
        (no_statistics, "holds no norm_stats"),
        (config(n_action_bins="many"), "n_action_bins must be a whole number, not 'many'"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "openvla"}'), "vision backbone"),
        (
            statistics(lambda raw: raw["fractal"]["action"].pop("q99")),
            "'fractal' has no action.q01 and action.q99",
        ),
        (statistics(lambda raw: raw["narrow"]["action"]["q01"].append(0.0)), "'narrow'.*as many finite"),
        (statistics(lambda raw: raw["narrow"]["action"].update(q01=["a"] * 6)), "'narrow'.*as many finite"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer: .*tokenizer.json"),
        (other_tokenizer(add_words), "not match the weights: it has 32101 tokens.*32064 rows"),
        (other_tokenizer(swap_words), "does not match the weights: its id 29871 is not '▁'"),
        (
            lambda folder: edit(
                folder, "preprocessor_config.json", lambda raw: raw.update(interpolations=["bilinear"] * 2)
            ),
            "must be resized by 'bicubic', not 'bilinear'",
        ),
        (lambda folder: (folder / "preprocessor_config.json").write_text("[]"), "does not hold an object"),
    ],
)
def test_what_is_wrong_is_one_clear_line(copy: Path, spoil: Callable[[Path], Any], line: str) -> None:
    spoil(copy)
    with pytest.raises(BadInput, match=line) as caught:
        load(copy)
    assert "\n" not in str(caught.value)
    assert str(copy) in str(caught.value)
