import copy
import json

import pytest
import torch
from families import EVERY, LANGUAGE, PICTURED, VOCABULARY, tiny
from torch import Tensor

from vla.attention import prefix_lm_mask
from vla.backbones import families as known
from vla.backbones.hf import TransformersBackbone
from vla.configuration import TransformersConfig
from vla.errors import BadInput

P, A = 6, 4
T = P + A


def ids(rows: int = 2, seed: int = 1) -> Tensor:
    return torch.randint(3, 59, (rows, T), generator=torch.Generator().manual_seed(seed))


def close(one: Tensor, other: Tensor, bound: float = 1e-5) -> bool:
    one, other = one.detach(), other.detach()
    return bool((one - other).abs().max() < bound * max(1.0, float(other.abs().max())))


def test_every_family_that_is_named_is_tested() -> None:
    assert set(known.TRIED) == set(EVERY) and set(known.PICTURED) == set(PICTURED)


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_causal_equals_the_model_itself(name: str) -> None:
    """Scale of the embeddings, windows, positions, final norm and head: all as in `transformers`."""
    backbone = tiny(name)
    words = ids()
    extra = {}
    if name in (
        "paligemma",
        "gemma3",
    ):  # whose own mask is causal only where it is told which words are answers
        extra["token_type_ids"] = torch.full_like(words, 1 if name == "paligemma" else 0)
    wanted = backbone.model(input_ids=words, attention_mask=torch.ones_like(words), **extra).logits
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    found = backbone.head(backbone(backbone.embed(words), mask))
    assert found.shape == (2, T, VOCABULARY) == (2, T, backbone.vocabulary)
    assert close(found, wanted)


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_mask_is_obeyed(name: str) -> None:
    backbone = tiny(name)
    x = backbone.embed(ids())
    other = torch.cat([x[:, :P], backbone.embed(ids(seed=2))[:, P:]], 1)
    mask = prefix_lm_mask(P, A, block=1)
    one, two = backbone(x, mask), backbone(other, mask)
    assert torch.equal(one[:, :P], two[:, :P])  # the prefix sees no answer
    assert not close(one[:, P:], two[:, P:], 1e-2)
    changed = x.clone()
    changed[:, P - 1] = other[:, P]  # the prefix sees itself both ways
    assert not close(backbone(changed, mask)[:, P - 2], one[:, P - 2], 1e-3)
    hidden = mask.repeat(2, 1, 1, 1)
    hidden[..., 2] = False  # nobody looks at token 2, but itself
    hidden[..., 2, 2] = True
    nonsense = x.clone()
    nonsense[:, 2] = 7.0
    rows = [i for i in range(T) if i != 2]
    assert torch.equal(backbone(x, hidden)[:, rows], backbone(nonsense, hidden)[:, rows])


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_cache_changes_nothing(name: str) -> None:
    backbone = tiny(name)
    x, mask = backbone.embed(ids()), prefix_lm_mask(P, A, block=1)
    places = torch.tensor([list(range(T)), [*range(P), *range(P + 3, T + 3)]])
    for positions in (None, places):
        wanted = backbone(x, mask, positions=positions)
        cache = backbone.new_cache()
        found = [backbone(x[:, :P], mask[:P, :P], cache, positions=_cut(positions, 0, P))]
        assert cache.length == P
        for i in range(P, T):
            at = _cut(positions, i, i + 1)
            found.append(backbone(x[:, i : i + 1], mask[i : i + 1, : i + 1], cache, last=1, positions=at))
        assert close(torch.cat(found, 1), wanted)


def _cut(positions: Tensor | None, start: int, end: int) -> Tensor | None:
    return None if positions is None else positions[:, start:end]


WINDOWED = {"gemma2", "gemma3", "gemma3_text", "llava_next", "mistral", "paligemma", "phi3"}


@pytest.mark.parametrize("name", [name for name in EVERY if name not in WINDOWED])
@torch.no_grad()
def test_positions_are_obeyed(name: str) -> None:
    """A sequence with a hole is the one without it, if its positions say so. (With windows it is not: they
    are counted in the sequence.)"""
    backbone = tiny(name)
    x = backbone.embed(ids())
    keep = [i for i in range(T) if i != 3]
    mask = torch.ones(T, T, dtype=torch.bool)
    mask[:, 3] = False
    mask[3, 3] = True
    wanted = backbone(x[:, keep], torch.ones(T - 1, T - 1, dtype=torch.bool))
    positions = torch.tensor([0, 1, 2, 9, *range(3, T - 1)])[None]
    assert close(backbone(x, mask, positions=positions)[:, keep], wanted)
    assert not close(backbone(x, mask)[:, keep], wanted, 1e-3)


@torch.no_grad()
def test_window_and_mask_together() -> None:
    """Mistral, window 4, one layer: a token sees what is nearer than 4, either way, if the mask lets it."""
    config = {**LANGUAGE["mistral"], "num_hidden_layers": 1}
    torch.manual_seed(0)
    backbone = TransformersBackbone(TransformersConfig(config=config)).eval()
    x = backbone.embed(ids(1))
    mask = torch.ones(T, T, dtype=torch.bool)
    mask[:, 6] = False
    before = backbone(x, mask)
    for changed in range(T):
        y = x.clone()
        y[:, changed] += 1.0
        moved = (backbone(y, mask) - before).abs().amax(-1)[0] > 1e-6
        wanted = [(abs(row - changed) < 4 and changed != 6) or row == changed for row in range(T)]
        assert moved.tolist() == wanted


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen3_vl", "gpt_neox"])
def test_before_is_done_before_its_layer(name: str) -> None:
    backbone = tiny(name)
    x = backbone.embed(ids()).detach()
    seen: list[int] = []

    def note(layer: int, h: Tensor) -> Tensor:
        seen.append(layer)
        return h

    plain = backbone(x)
    same = backbone(x, before={i: lambda h, i=i: note(i, h) for i in range(3)})
    assert seen == [0, 1, 2] and torch.equal(plain, same)
    assert torch.equal(backbone(x, before={0: lambda h: h + 1.0}), backbone(x + 1.0))
    assert not close(backbone(x, before={2: lambda h: h + torch.randn_like(h)}), plain, 1e-3)
    assert torch.equal(backbone(x), plain)  # nothing is left behind


@pytest.mark.parametrize("name", ["llama", "gemma2", "smolvlm"])
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    plain, saving = tiny(name), tiny(name, gradient_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    gates = [torch.full((), 0.3, requires_grad=True) for _ in range(2)]
    passes = []
    for backbone, gate in zip((plain, saving), gates, strict=True):
        backbone.train()
        runs: list[int] = []
        hook = backbone.core.layers[0].self_attn.register_forward_hook(lambda *_, r=runs: r.append(1))
        x = backbone.embed(ids())
        before = {1: lambda h, gate=gate: h + gate * h.roll(1, 1)}
        mask = prefix_lm_mask(P, A, block=1)
        # Two passes before one backward: what the second one is told must not reach the first one's layers.
        one = backbone(x, mask, before=before)
        two = backbone(x.flip(1), mask)
        (one.square().mean() + two.square().mean()).backward()
        passes.append(len(runs))
        hook.remove()
    assert passes == [2, 4]
    assert gates[0].grad is not None and torch.equal(gates[0].grad, gates[1].grad)
    for (key, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        if p.grad is not None:
            assert close(q.grad, p.grad), key


@pytest.mark.parametrize("name", EVERY)
def test_config_round_trip_has_the_same_names(name: str) -> None:
    backbone = tiny(name)
    saved = json.loads(json.dumps(backbone.config_dict()))
    again = TransformersBackbone(TransformersConfig(config=saved)).eval()
    shapes = {key: value.shape for key, value in backbone.state_dict().items()}
    assert shapes == {key: value.shape for key, value in again.state_dict().items()}
    again.load_state_dict(backbone.state_dict())
    x = backbone.embed(ids()).detach()
    assert torch.equal(again(x), backbone(x))
    assert again.config_dict() == saved


def test_bfloat16_weights_and_float_outside() -> None:
    exact, short = tiny("llama"), tiny("llama", dtype="bfloat16")
    short.load_state_dict(exact.state_dict())
    assert all(p.dtype == torch.bfloat16 for p in short.parameters())
    x = exact.embed(ids()).detach()
    found = short(x)
    assert found.dtype == torch.float32 and close(found, exact(x), 0.05)


def test_a_copy_runs_by_itself() -> None:
    backbone = tiny("gemma3", gradient_checkpointing=True)
    other = copy.deepcopy(backbone)
    assert other.state_dict().keys() == backbone.state_dict().keys()
    x = backbone.embed(ids()).detach()
    wanted = backbone(x, prefix_lm_mask(P, A, block=1))
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    assert torch.equal(other(x, prefix_lm_mask(P, A, block=1)), wanted)
    assert other.layer_list[0] is other.core.layers[0] is not backbone.layer_list[0]


@pytest.mark.parametrize("name", PICTURED)
def test_parts_cover_the_model_once(name: str) -> None:
    backbone = tiny(name)
    parts = [*backbone.vision_modules, *backbone.connector_modules, *backbone.language_modules]
    covered: dict[int, int] = {}
    for part in parts:
        for p in [part] if isinstance(part, torch.nn.Parameter) else set(part.parameters()):
            covered[id(p)] = covered.get(id(p), 0) + 1
    assert covered.keys() == {id(p) for p in backbone.parameters()}
    tied = id(backbone.model.get_input_embeddings().weight)
    assert all(count == 1 for key, count in covered.items() if key != tied)
    lean = TransformersBackbone(TransformersConfig(config=PICTURED[name]), vision=False)
    assert not lean.vision_modules and lean.layer_list
    assert sum(p.numel() for p in lean.parameters()) < sum(p.numel() for p in backbone.parameters())


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "lama"}, "did you mean 'llama'"),
        ({"model_type": "wizardry"}, "known to work: gemma3, .*, smollm3"),
        ({"hidden_size": 3}, "model_type ''.* no causal .*known to work"),
        ({"model_type": "fuyu"}, "'fuyu' cannot be the backbone: it ignores the attention mask; use"),
        ({"model_type": "persimmon"}, "'persimmon' cannot be the backbone: it ignores"),
        ({"model_type": "idefics"}, "'idefics' cannot be the backbone: .*use idefics3 or smolvlm"),
        ({"model_type": "resnet"}, "'resnet' is no causal or vision-language model"),
        ({**LANGUAGE["llama"], "hidden_size": 33}, "backbone.config"),
        ({**LANGUAGE["llama"], "model_type": "jamba"}, "type jamba cannot be the backbone: it has layers of"),
        (
            {**LANGUAGE["llama"], "model_type": "bert", "is_decoder": False},
            "other scores than by itself|ignores",
        ),
    ],
)
def test_bad_configs_are_one_line(config: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        TransformersBackbone(TransformersConfig(config=config))
    assert "\n" not in str(caught.value)


def test_an_untried_family_that_works_is_taken() -> None:
    text = {**LANGUAGE["llama"], "model_type": "stablelm"}
    assert len(TransformersBackbone(TransformersConfig(config=text)).layer_list) == 3
    gpt2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64}
    assert TransformersBackbone(TransformersConfig(config=gpt2)).final_norm is not None
