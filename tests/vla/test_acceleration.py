"""Accelerated models answer as the plain ones do, as near as the way allows; and are run, nothing else."""

import copy
import shutil
from typing import Any

import pytest
import torch
import torch._dynamo
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny
from torch import Tensor, nn

from vla.acceleration import accelerate, compile_backbone
from vla.attention import prefix_lm_mask
from vla.backbones.hf import TransformersBackbone
from vla.backbones.int8 import Activations, Int8Linear, int8_weights
from vla.backbones.prefix import PrefixCache
from vla.backbones.small import SmallBackbone
from vla.configuration import SmallConfig, TransformersConfig
from vla.errors import BadInput

P, A = 9, 6
KINDS: tuple[Activations, ...] = ("float", "int8")


def small(width: int = 128, block: str = "plain", **more: Any) -> SmallBackbone:
    torch.manual_seed(0)
    config = SmallConfig(width=width, layers=2, heads=4, mlp=2 * width, block=block, **more)  # type: ignore[arg-type]
    return SmallBackbone(config).eval()


def llama() -> TransformersBackbone:
    torch.manual_seed(0)
    config = {
        "model_type": "llama",
        "vocab_size": 160,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    return TransformersBackbone(TransformersConfig(config=config)).eval()


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def answer(backbone: Any, x: Tensor, caches: PrefixCache) -> Tensor:
    """The prefix at once, then token by token, as generation does."""
    mask = prefix_lm_mask(P, A, block=1)
    cache, _ = caches.take(0, backbone, x[:, :P], P + A)
    parts = [(0, P), *((i, i + 1) for i in range(P, P + A))]
    places = torch.arange(P + A)[None]
    out = [backbone(x[:, a:b], mask[a:b, :b], cache, positions=places[:, a:b]) for a, b in parts]
    return torch.cat(out, 1)


# -- int8 -----------------------------------------------------------------------------------------------


@given(
    st.integers(1, 40),
    st.sampled_from([16, 48, 128]),
    st.integers(8, 40),
    st.booleans(),
    st.sampled_from(KINDS),
)
@torch.no_grad()
def test_a_layer_is_near_its_original(
    rows: int, k: int, n: int, bias: bool, activations: Activations
) -> None:
    linear = nn.Linear(k, n, bias)
    linear.weight[0] *= 100  # a channel of another size has a scale of its own
    linear.weight[-1] = 0
    made, x = Int8Linear(linear, activations), torch.randn(rows, k)
    found, wanted = made(x), linear(x)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert error(found[:, 1:], wanted[:, 1:]) < 0.03 and error(found[:, 0], wanted[:, 0]) < 0.05
    if not bias:
        assert not found[:, -1].any()
    # Half a step of the weight, times what comes in, is all that the weights' rounding can do.
    step = made.scale.float()[:, None].expand(n, k)
    assert bool(((linear.weight - made.codes.float() * step).abs() <= 0.51 * step + 1e-12).all())
    assert made(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("activations", KINDS)
@pytest.mark.parametrize("rows", [1, 20])
@torch.no_grad()
def test_one_loud_row_does_not_silence_the_others(activations: Activations, rows: int) -> None:
    linear = nn.Linear(128, 128)
    x = torch.randn(rows + 1, 128)
    x[0] *= 1000
    assert error(Int8Linear(linear, activations)(x)[1:], linear(x)[1:]) < 0.02


@pytest.mark.parametrize("activations", KINDS)
@pytest.mark.parametrize("make", [small, lambda: small(block="llama", kv_heads=2), llama])
@torch.no_grad()
def test_a_backbone_is_near_its_original(make: Any, activations: Activations) -> None:
    backbone = make()
    quick = int8_weights(copy.deepcopy(backbone), activations, smallest=32)
    layers = [each for each in quick.modules() if isinstance(each, Int8Linear)]
    assert len(layers) == sum(type(each) is nn.Linear for each in backbone.layer_list[0].modules()) * 2
    x = torch.randn(2, P + A, backbone.width) * 0.3
    wanted, found = answer(backbone, x, PrefixCache()), answer(quick, x, PrefixCache())
    assert 0 < error(found, wanted) < 0.03
    head = torch.randn(256, backbone.width)
    same = (found @ head.T).argmax(-1) == (wanted @ head.T).argmax(-1)
    assert same.float().mean() > 0.8


def test_what_is_left_as_it_is() -> None:
    class Other(nn.Linear):
        pass

    module = nn.ModuleDict(
        {
            "narrow": nn.Linear(64, 512),
            "odd": nn.Linear(520, 512),
            "head": nn.Linear(512, 512),
            "adapted": Other(512, 512),
            "one": nn.Linear(512, 512),
            "two": nn.Linear(512, 512),
            "plain": nn.Linear(512, 512),
        }
    )
    module["two"].weight = module["one"].weight
    int8_weights(module)
    assert [name for name, each in module.items() if isinstance(each, Int8Linear)] == ["plain"]


def test_the_language_models_head_stays() -> None:
    backbone = int8_weights(llama())
    assert type(backbone.model.lm_head) is nn.Linear  # type: ignore[union-attr]


def test_it_is_never_saved_or_loaded() -> None:
    model, _ = tiny(backbone=SmallConfig(width=128, layers=1, heads=4, mlp=128))
    weights = model.state_dict()
    accelerate(model, int8=True)
    with pytest.raises(BadInput, match="int8 weights can only be run; save the one it was made of"):
        model.state_dict()
    with pytest.raises(BadInput, match="int8 weights can only be run; load weights before"):
        model.load_state_dict(weights)
    assert not any(
        each.requires_grad
        for layer in model.modules()
        if isinstance(layer, Int8Linear)
        for each in layer.parameters()
    )


def test_int8_is_refused_elsewhere_than_on_a_cpu() -> None:
    with pytest.raises(BadInput, match="int8 weights are for the CPU, and these are on meta"):
        int8_weights(nn.Linear(128, 128, device="meta"))


# -- compiled -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [small, lambda: small(block="llama", kv_heads=2), llama])
@torch.no_grad()
def test_all_steps_of_all_answers_are_one_graph(make: Any) -> None:
    """Two graphs, one for prefixes and one for steps, whatever the place and the control step; and within
    each nothing falls back to Python. What a CUDA graph needs, seen on a CPU."""
    backbone, seen = make(), []

    def count(graph: Any, inputs: Any) -> Any:
        seen.append(graph)
        return graph.forward

    plain = copy.deepcopy(backbone)
    torch._dynamo.reset()
    compile_backbone(backbone, backend=count)
    caches = PrefixCache()
    for seed in range(3):
        x = torch.randn(1, P + A, backbone.width, generator=torch.Generator().manual_seed(seed))
        found = answer(backbone, x, caches)
        assert torch.allclose(found, answer(plain, x, PrefixCache()), atol=1e-5)
        assert len(seen) == (1 if seed == 0 else 2)  # the very first prefix makes the memory
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@torch.no_grad()
def test_generated_code_gives_the_same() -> None:
    backbone = small(block="llama", kv_heads=2)
    plain = copy.deepcopy(backbone)
    compile_backbone(backbone)
    caches, x = PrefixCache(), torch.randn(1, P + A, backbone.width)
    for _ in range(2):
        assert torch.allclose(answer(backbone, x, caches), answer(plain, x, PrefixCache()), atol=1e-4)
    torch._dynamo.reset()


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BadInput, match="needs a C\\+\\+ compiler"):
        compile_backbone(small())
