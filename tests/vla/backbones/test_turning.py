"""What another module is told of a backbone's keys: their sizes, and how their places are told to them."""

from typing import Any

import pytest
import torch
from families import _TEXT, LANGUAGE, PICTURED

from vla.backbones.base import Backbone
from vla.backbones.hf import TransformersBackbone
from vla.backbones.small import SmallBackbone
from vla.backbones.turning import find_keys
from vla.configuration import SmallConfig, TransformersConfig

_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 1e4}
MORE: dict[str, dict[str, Any]] = {
    "cohere": {**_TEXT, "model_type": "cohere"},  # neighbours in pairs
    "glm": {**_TEXT, "model_type": "glm", "head_dim": 8},  # neighbours, and only half of a key
    "every fourth layer": {**_TEXT, "model_type": "smollm3", "num_hidden_layers": 4},
    "stretched": {**_TEXT, "model_type": "llama", "rope_parameters": _YARN},
    "gpt2": {"model_type": "gpt2", "vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4},
}
FAMILIES = {**LANGUAGE, **MORE, **{name: PICTURED[name] for name in ("qwen2_vl", "qwen3_vl", "gemma3")}}
UNTURNED = {"gpt2": [0, 1], "every fourth layer": [3]}


def built(name: str) -> Backbone:
    torch.manual_seed(0)
    if name.startswith("own"):
        block = "plain" if name == "own plain" else "llama"
        kept = 2 if name == "own grouped" else None
        return SmallBackbone(
            SmallConfig(width=32, layers=2, heads=4, mlp=48, block=block, kv_heads=kept)
        ).eval()  # type: ignore[arg-type]
    return TransformersBackbone(TransformersConfig(config=FAMILIES[name]), vision=False).eval()


def spread(backbone: Backbone) -> Backbone:
    """With weights large enough for every part to show."""
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return backbone


@pytest.mark.parametrize("name", [*FAMILIES, "own plain", "own llama", "own grouped"])
def test_the_keys_of_a_place_are_those_of_another_turned(name: str) -> None:
    backbone = spread(built(name))
    one, many = torch.randn(2, 1, 32), torch.tensor([[3], [20]])
    caches = [backbone.new_cache(), backbone.new_cache()]
    with torch.no_grad():
        backbone(one, cache=caches[0], positions=torch.zeros(2, 1, dtype=torch.int64))
        backbone(one, cache=caches[1], positions=many)
        none, turns = backbone.turns(torch.zeros(2, 1, dtype=torch.int64)), backbone.turns(many)
        still = []
        for layer, ((first, _), (second, _)) in enumerate(
            zip(caches[0].layers, caches[1].layers, strict=True)
        ):
            told = backbone.heads[layer]
            assert (told.kept, told.key) == (first.shape[1], first.shape[3])
            assert told.query % told.kept == 0
            if name != "gpt2":  # whose places are in its embeddings
                # (turned by nothing, a key may still be stretched)
                torch.testing.assert_close(turns[layer](first), none[layer](second), atol=1e-4, rtol=1e-4)
            if torch.equal(turns[layer](first), first):
                still.append(layer)
    assert still == ([0, 1] if name == "own plain" else UNTURNED.get(name, []))


def test_a_model_in_bfloat16_is_found_out_too() -> None:
    backbone = TransformersBackbone(TransformersConfig(config=MORE["glm"], dtype="bfloat16"))
    assert backbone.heads[0].key == 8
    assert find_keys(backbone).turn == ["pairs of halves"] * 3


def test_dropout_and_random_numbers_are_left_alone() -> None:
    config = {**MORE["cohere"], "attention_dropout": 0.5}
    backbone = TransformersBackbone(TransformersConfig(config=config)).train()
    before = torch.get_rng_state()
    assert find_keys(backbone).turn == ["pairs"] * 3
    assert torch.equal(torch.get_rng_state(), before)
    assert backbone.training


def test_without_numbers_a_model_is_taken_at_its_word() -> None:
    with torch.device("meta"):
        backbone = TransformersBackbone(TransformersConfig(config=LANGUAGE["qwen3"]))
    assert list(backbone.heads) == list(built("qwen3").heads)
