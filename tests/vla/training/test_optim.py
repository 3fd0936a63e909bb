import copy

import torch
from torch import nn
from toy import Toy

from vla.training.config import OptimConfig
from vla.training.optim import Ema, build_optimizer, decayed_names, lr_factor


def test_wsd_rises_holds_and_falls() -> None:
    config = OptimConfig(warmup=100, decay=0.2)
    factors = [lr_factor(config, s, s / 1000) for s in range(1000)]
    assert factors[0] == 0.01 and factors[99] == factors[500] == factors[799] == 1.0
    assert abs(factors[900] - 0.5) < 1e-9 and lr_factor(config, 1000, 1.0) == 0.0
    assert factors[100:] == sorted(factors[100:], reverse=True)


def test_cosine_ends_at_final() -> None:
    config = OptimConfig(schedule="cosine", warmup=0, final=0.1)
    assert lr_factor(config, 0, 0.0) == 1.0
    assert abs(lr_factor(config, 10, 1.0) - 0.1) < 1e-9


def test_decay_only_on_matrices() -> None:
    model = nn.ModuleDict(
        {
            "words": nn.Embedding(5, 4),
            "layer": nn.Linear(4, 4),
            "norm": nn.LayerNorm(4),
            "conv": nn.Conv2d(3, 4, 3),
        }
    )
    model.register_parameter("place", nn.Parameter(torch.zeros(3, 4)))
    assert decayed_names(model) == {"layer.weight", "conv.weight"}


def test_every_parameter_is_in_one_group() -> None:
    model = Toy()
    optimizer = build_optimizer(model, OptimConfig())
    inside = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(inside) == sorted(id(p) for p in model.parameters())


def test_ema_follows_with_a_ramp() -> None:
    model = Toy()
    ema = Ema(model, 0.9)
    start = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    ema.update(model.parameters(), model.buffers(), step=0)  # decay 1 / 10
    for mine, old in zip(ema.model.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(mine, old + 0.9)
    for step in range(100):
        ema.update(model.parameters(), model.buffers(), step)
    for mine, new in zip(ema.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, new, atol=1e-4, rtol=1e-4)
