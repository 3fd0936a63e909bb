"""The project's own transformer, against `transformers`' Llama with the same weights."""

import pytest
import torch

from vla.attention import prefix_lm_mask
from vla.backbones.small import SmallBackbone
from vla.configuration import SmallConfig


@pytest.mark.parametrize("kv_heads", [None, 2])
def test_llama_blocks_equal_those_of_transformers(kv_heads: int | None) -> None:
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    theirs = LlamaModel(
        LlamaConfig(
            vocab_size=8,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=kv_heads or 4,
            rope_theta=500.0,
        )
    ).eval()
    ours = SmallBackbone(SmallConfig("small", 32, 3, 4, 48, "llama", kv_heads, theta=500.0)).eval()
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"}
    for mine, other in zip(ours.blocks, theirs.layers, strict=True):
        for name, name_there in names.items():
            getattr(mine, name).weight.data = getattr(other.self_attn, name_there).weight.data
        for name in ("gate", "up", "down"):
            getattr(mine, name).weight.data = getattr(other.mlp, f"{name}_proj").weight.data
        mine.norm_1.weight.data = other.input_layernorm.weight.data.normal_(1.0, 0.1)
        mine.norm_2.weight.data = other.post_attention_layernorm.weight.data.normal_(1.0, 0.1)
    ours.norm.weight.data = theirs.norm.weight.data.normal_(1.0, 0.1)
    x = torch.randn(2, 9, 32)
    with torch.no_grad():
        wanted = theirs(inputs_embeds=x).last_hidden_state
        found = ours(x, torch.ones(9, 9, dtype=torch.bool).tril())
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        mask = prefix_lm_mask(6, 3, block=1)
        wanted = theirs(
            inputs_embeds=x, attention_mask=mask[None, None].expand(2, -1, -1, -1)
        ).last_hidden_state
        torch.testing.assert_close(ours(x, mask), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block", ["plain", "llama"])
def test_the_last_tokens_and_the_cache_change_nothing(block: str) -> None:
    torch.manual_seed(0)
    backbone = SmallBackbone(SmallConfig("small", 32, 2, 4, 48, block)).eval()  # type: ignore[arg-type]
    x, mask = torch.randn(2, 9, 32), prefix_lm_mask(6, 3, block=1)
    with torch.no_grad():
        whole = backbone(x, mask)
        torch.testing.assert_close(backbone(x, mask, last=3), whole[:, 6:])
        cache = backbone.new_cache()
        torch.testing.assert_close(backbone(x[:, :6], mask[:6, :6], cache), whole[:, :6])
        for i in range(6, 9):
            one = backbone(x[:, i : i + 1], mask[i : i + 1, : i + 1], cache)
            torch.testing.assert_close(one, whole[:, i : i + 1])


def test_only_differences_of_position_matter_to_llama_blocks() -> None:
    backbone = SmallBackbone(SmallConfig("small", 32, 2, 4, 48, "llama")).eval()
    x, places = torch.randn(1, 5, 32), torch.arange(5)[None]
    with torch.no_grad():
        here, there = backbone(x, positions=places), backbone(x, positions=places + 7)
        torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(here, backbone(x, positions=2 * places), atol=1e-3)
