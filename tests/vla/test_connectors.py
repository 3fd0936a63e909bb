"""Connectors: the budget, blindness to order and to what is masked, the bill; and the papers' own parts."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vla.configuration import ConnectorConfig, LinearConfig, MLPConfig, PerceiverConfig, QFormerConfig
from vla.connectors import Connector, LinearConnector, build_connector, pool
from vla.encoders.base import Tokens
from vla.errors import BadInput

N, C, W = 12, 10, 16
Q_FORMER = QFormerConfig(tokens=5, layers=3, heads=2, width=8)
PERCEIVER = PerceiverConfig(tokens=5, layers=2, heads=4)
ALL: list[ConnectorConfig] = [
    LinearConfig(),
    LinearConfig(tokens=5),
    MLPConfig(),
    MLPConfig(tokens=5, layers=3, hidden=24),
    Q_FORMER,
    PERCEIVER,
]
QUERIES: list[ConnectorConfig] = [Q_FORMER, PERCEIVER]


def name(config: object) -> str:
    return f"{getattr(config, 'kind', '')}-{getattr(config, 'tokens', '')}"


def build(config: ConnectorConfig, tokens: int = N, channels: int = C, width: int = W) -> Connector:
    torch.manual_seed(0)
    return build_connector(config, channels, tokens, width)


def tokens(batch: int = 3, count: int = N, mask: Tensor | None = None, seed: int = 1) -> Tokens:
    return Tokens(torch.randn(batch, count, C, generator=torch.Generator().manual_seed(seed)), mask)


def half_mask() -> Tensor:
    mask = torch.rand(3, N, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[0] = True
    mask[2] = False  # nothing at all
    return mask


@pytest.mark.parametrize("config", ALL, ids=name)
def test_the_budget_is_kept(config: ConnectorConfig) -> None:
    connector = build(config)
    out = connector(tokens())
    assert out.x.shape == (3, connector.tokens, W)
    assert connector.tokens == (config.tokens or N)
    assert out.mask is None  # nothing was masked


@pytest.mark.parametrize("kind", [LinearConfig, MLPConfig])
def test_a_budget_above_the_tokens_changes_nothing(kind: type) -> None:
    assert build(kind(tokens=N + 1)).tokens == N
    torch.testing.assert_close(build(kind(tokens=N + 1))(tokens()).x, build(kind())(tokens()).x)


def test_linear_without_a_budget_is_a_map_and_a_place() -> None:
    torch.manual_seed(3)
    project, place = nn.Linear(C, W), torch.randn(N, W) * 0.02
    torch.manual_seed(3)
    connector = LinearConnector(C, N, W)
    assert torch.equal(connector(tokens()).x, project(tokens().x) + place)


@pytest.mark.parametrize("config", QUERIES, ids=name)
def test_queries_are_blind_to_the_order_of_tokens(config: ConnectorConfig) -> None:
    connector, seen = build(config), tokens(mask=half_mask())
    order = torch.randperm(N, generator=torch.Generator().manual_seed(4))
    assert seen.mask is not None
    shuffled = Tokens(seen.x[:, order], seen.mask[:, order])
    torch.testing.assert_close(connector(shuffled).x, connector(seen).x)
    other = connector(Tokens(seen.x + torch.eye(N, C), seen.mask)).x
    assert not torch.allclose(other[0], connector(seen).x[0], atol=1e-4)  # but not to the tokens


@pytest.mark.parametrize("config", ALL, ids=name)
def test_what_is_masked_changes_nothing(config: ConnectorConfig) -> None:
    connector, mask = build(config), half_mask()
    seen, other = tokens(mask=mask), tokens(mask=mask, seed=9)
    changed = Tokens(torch.where(mask[..., None], seen.x, 50 * other.x), mask)
    a, b = connector(seen), connector(changed)
    assert torch.isfinite(b.x).all() and torch.equal(a.full_mask(), b.full_mask())
    assert torch.equal(a.x[a.full_mask()], b.x[b.full_mask()])
    assert a.present().tolist() == [True, True, False]


@pytest.mark.parametrize("config", QUERIES, ids=name)
def test_masked_tokens_are_as_good_as_cut_off(config: ConnectorConfig) -> None:
    connector, seen = build(config), tokens()
    mask = (torch.arange(N) < 7).expand(3, -1)
    torch.testing.assert_close(connector(Tokens(seen.x, mask)).x, connector(Tokens(seen.x[:, :7])).x)


@pytest.mark.parametrize("config", QUERIES, ids=name)
def test_queries_answer_where_anything_is_there(config: ConnectorConfig) -> None:
    mask = torch.zeros(3, N, dtype=torch.bool)
    mask[1, 4] = True
    out = build(config)(tokens(mask=mask))
    assert out.full_mask().tolist() == [[False] * 5, [True] * 5, [False] * 5]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("config", ALL, ids=name)
def test_gradients_reach_every_parameter_and_are_finite(config: ConnectorConfig, masked: bool) -> None:
    connector = build(config)
    out = connector(tokens(mask=half_mask() if masked else None))
    weights = torch.randn(out.x.shape, generator=torch.Generator().manual_seed(5))
    (out.x * weights)[out.full_mask()].sum().backward()
    for key, parameter in connector.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, key


def test_pooling_is_a_mean_over_areas_of_a_square_picture() -> None:
    x = tokens(2, 36)
    expected = F.avg_pool2d(x.x.view(2, 6, 6, C).permute(0, 3, 1, 2), 3).flatten(2).transpose(1, 2)
    torch.testing.assert_close(pool(x, 4).x, expected)
    runs = x.x.view(2, 4, 9, C).mean(2)
    torch.testing.assert_close(pool(x, 4, picture=False).x, runs)
    torch.testing.assert_close(pool(tokens(2, 12), 4).x, tokens(2, 12).x.view(2, 4, 3, C).mean(2))


@pytest.mark.parametrize(("count", "budget"), [(36, 4), (12, 4), (36, 9)])
def test_pooling_counts_what_is_there_alone(count: int, budget: int) -> None:
    mask = torch.rand(3, count, generator=torch.Generator().manual_seed(6)) < 0.4
    x = tokens(3, count, mask)
    pooled = pool(x, budget)
    ones = pool(Tokens(torch.ones(3, count, C), mask), budget)
    assert pooled.mask is not None
    # A mean of ones is one wherever anything is, and the mask says where that is.
    torch.testing.assert_close(ones.x, pooled.mask[..., None].float().expand(-1, -1, C))
    everything = torch.ones_like(mask)
    torch.testing.assert_close(pool(Tokens(x.x, everything), budget).x, pool(Tokens(x.x), budget).x)


def test_a_mean_before_a_linear_map_is_the_same_after_it() -> None:
    connector = build(LinearConfig(tokens=4))
    assert isinstance(connector, LinearConnector)
    mapped = pool(Tokens(connector.project(tokens().x)), 4).x + connector.place
    torch.testing.assert_close(connector(tokens()).x, mapped)


@pytest.mark.parametrize("config", ALL, ids=name)
def test_cost_is_what_a_forward_pass_takes(config: ConnectorConfig) -> None:
    connector = build(config)
    with FlopCounterMode(display=False) as counter:
        connector(tokens(batch=4))
    cost = connector.cost()
    assert 4 * cost.flops == counter.get_total_flops()
    assert cost.parameters == sum(p.numel() for p in connector.parameters())
    assert (cost.tokens_in, cost.tokens_out) == (N, connector.tokens)


def test_cost_against_arithmetic() -> None:
    assert build(LinearConfig(tokens=5)).cost().flops == 2 * 5 * C * W
    assert build(MLPConfig(hidden=24)).cost().flops == 2 * N * (C * 24 + 24 * W)
    q, layers = PERCEIVER.tokens, PERCEIVER.layers
    keys = N + q
    each = 2 * W * W * (2 * q + 2 * keys) + 2 * 2 * q * keys * W + 2 * 2 * q * W * 4 * W
    assert build(PERCEIVER).cost().flops == 2 * N * C * W + layers * each


def test_cost_of_a_big_one_needs_no_memory() -> None:
    with torch.device("meta"):
        connector = build_connector(PerceiverConfig(tokens=64, heads=32), 1152, 9000, 4096)
    cost = connector.cost()
    assert cost.parameters > 100e6 and cost.flops > 9000 * cost.parameters / 4


@pytest.mark.parametrize("config", ALL, ids=name)
def test_bf16_autocast_is_near_fp32(config: ConnectorConfig) -> None:
    connector, seen = build(config), tokens(mask=half_mask())
    exact = connector(seen)
    with torch.autocast("cpu", torch.bfloat16):
        low = connector(seen)
    there = exact.full_mask()
    torch.testing.assert_close(low.x.float()[there], exact.x[there], atol=0.05, rtol=0.05)


@pytest.mark.parametrize("config", ALL, ids=name)
def test_bf16_weights_work(config: ConnectorConfig) -> None:
    connector, seen = build(config).to(torch.bfloat16), tokens(mask=half_mask())
    out = connector(Tokens(seen.x.to(torch.bfloat16), seen.mask))
    assert out.x.dtype == torch.bfloat16 and torch.isfinite(out.x).all()
    assert connector.cost() == build(config).cost()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (dataclasses.replace(Q_FORMER, heads=3), "connector.heads 3 does not divide connector.width"),
        (PerceiverConfig(heads=5), "connector.heads 5 does not divide the backbone's width, which is 16"),
    ],
    ids=name,
)
def test_heads_that_do_not_divide_the_width_are_one_line(config: ConnectorConfig, line: str) -> None:
    with pytest.raises(BadInput, match=line):
        build(config)


def test_an_mlp_may_have_no_places() -> None:
    connector = build(MLPConfig(layers=3, hidden=24, place=False))
    # Prismatic's projector for two fused towers: channels -> hidden -> width -> width.
    assert [tuple(p.shape) for p in connector.parameters() if p.ndim == 2] == [(24, C), (W, 24), (W, W)]
    assert torch.equal(connector(tokens()).x, connector.get_submodule("project")(tokens().x))


def test_q_former_equals_blip_2() -> None:
    blip = pytest.importorskip("transformers").models.blip_2
    config = blip.configuration_blip_2.Blip2QFormerConfig(
        hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        encoder_hidden_size=C, cross_attention_frequency=2, layer_norm_eps=1e-5,
    )  # fmt: skip
    config._attn_implementation = "eager"
    torch.manual_seed(7)
    theirs = blip.modeling_blip_2.Blip2QFormerModel(config).eval()
    for parameter in theirs.parameters():  # biases are zero at first, and would hide a mistake
        nn.init.normal_(parameter, std=0.3)
    connector = build(Q_FORMER)
    ours = {name: p for name, p in connector.named_parameters() if name.startswith("layers.")}
    own = theirs.state_dict()
    renamed = {
        "talk_norm": "attention.output.LayerNorm", "talk.q": "attention.attention.query",
        "talk.k": "attention.attention.key", "talk.v": "attention.attention.value",
        "talk.out": "attention.output.dense", "look_norm": "crossattention.output.LayerNorm",
        "look.q": "crossattention.attention.query", "look.k": "crossattention.attention.key",
        "look.v": "crossattention.attention.value", "look.out": "crossattention.output.dense",
        "up": "intermediate_query.dense", "down": "output_query.dense", "norm": "output_query.LayerNorm",
    }  # fmt: skip
    with torch.no_grad():
        for key, parameter in ours.items():
            _, layer, *middle, last = key.split(".")
            parameter.copy_(own[f"encoder.layer.{layer}.{renamed['.'.join(middle)]}.{last}"])
        connector.get_submodule("queries_norm").load_state_dict(
            {"weight": own["layernorm.weight"], "bias": own["layernorm.bias"]}
        )
        mask = half_mask()
        mask[2, 0] = True
        seen = tokens(mask=mask)
        expected = theirs(
            query_embeds=connector.get_parameter("queries").expand(3, -1, -1),
            encoder_hidden_states=connector.get_submodule("tokens_norm")(seen.x),
            encoder_attention_mask=mask.long(),
        ).last_hidden_state
        expected = connector.get_submodule("project")(expected)
        torch.testing.assert_close(connector(seen).x, expected, atol=1e-5, rtol=1e-5)
    assert len(ours) == sum(key.startswith("encoder.layer") for key in own)  # nothing of theirs was left out


def test_perceiver_equals_flamingos_resampler() -> None:
    """Against Idefics' resampler, which has the same parts but ReLU for GELU."""
    idefics = pytest.importorskip("transformers").models.idefics
    from transformers.models.idefics.perceiver import IdeficsPerceiverResampler

    config = idefics.configuration_idefics.IdeficsConfig(
        vision_config={"embed_dim": W}, perceiver_config={"qk_layer_norms_perceiver": False}
    )
    torch.manual_seed(8)
    theirs = IdeficsPerceiverResampler(config, W, depth=2, n_heads=4, head_dim=W // 4, n_latents=5)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    for _, mlp in theirs.blocks:
        mlp.act = nn.GELU()
    connector = build(PERCEIVER)
    renamed = {
        "0.context_layer_norm": "tokens_norm", "0.latents_layer_norm": "latents_norm", "0.q_proj": "look.q",
        "0.k_proj": "look.k", "0.v_proj": "look.v", "0.output_proj": "look.out", "1.ln": "norm",
        "1.fc": "up", "1.c_proj": "down",
    }  # fmt: skip
    ours = {}
    for key, value in theirs.state_dict().items():
        if key.startswith("blocks."):
            _, layer, *middle, last = key.split(".")
            ours[f"layers.{layer}.{renamed['.'.join(middle)]}.{last}"] = value
        else:
            ours[key.replace("layer_norm", "norm")] = value
    missing, unexpected = connector.load_state_dict(ours, strict=False)
    assert not unexpected and missing == ["project.weight", "project.bias"]
    with torch.no_grad():
        expected = theirs(connector.get_submodule("project")(tokens().x))
        torch.testing.assert_close(connector(tokens()).x, expected, atol=1e-5, rtol=1e-5)
