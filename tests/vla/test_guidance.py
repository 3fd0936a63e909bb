"""Guidance of a flow: the correction is the true vector-Jacobian product, and no shortcut passes for it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_flow import CONFIG, ROWS, backbone, expert, noise, past_of, plan_of, prefix
from torch import Tensor

from vla.decoders.guidance import guided_velocity, strength

TIMES = st.floats(0.0, 0.95)


def correction(v: Tensor, plain: Tensor, time: float) -> Tensor:
    return (v - plain) / strength(time)


def test_the_strength_is_the_papers() -> None:
    assert strength(0.0) == 5.0
    assert strength(0.5) == pytest.approx(2.0)  # r^2 = 1/2: (1/2) / (1/2 * 1/2)
    assert strength(0.25) == pytest.approx((0.75 / 0.25) / (0.75**2 / (0.25**2 + 0.75**2)))
    assert strength(0.1) == 5.0  # 9.1, bounded
    assert strength(0.9) == 5.0  # grows again towards the end
    assert strength(0.1, strongest=20) == pytest.approx(0.82 / 0.09)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), TIMES)
def test_of_a_linear_flow_it_is_the_closed_form(seed: int, time: float) -> None:
    """v = A x + b over whole chunks: the estimate's Jacobian is I + (1 - t) A."""
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    n = 3 * 2
    a, b, x, plan = draw(n, n), draw(n), draw(2, 3, 2), draw(2, 3, 2)
    weights = torch.rand(2, 3, generator=random, dtype=torch.float64)

    def velocity(x: Tensor) -> Tensor:
        return (x.flatten(1) @ a.T + b).view_as(x)

    jacobian = torch.eye(n, dtype=torch.float64) + (1 - time) * a
    error = weights[..., None] * (plan - x - (1 - time) * velocity(x))
    wanted = (error.flatten(1) @ jacobian).view_as(x)  # J^T error, row by row
    found = guided_velocity(velocity, x, time, plan, weights)
    torch.testing.assert_close(found, velocity(x) + strength(time) * wanted)
    shortcut = velocity(x) + strength(time) * error
    assert (shortcut - found).norm() > 0.1 * (1 - time) * (found - velocity(x)).norm()


def test_rows_without_an_error_of_their_own_are_moved_by_those_that_have_one() -> None:
    """What the identity in the Jacobian's place cannot do."""
    a = torch.full((4, 4), 0.5)
    x, plan = torch.zeros(1, 4, 1), torch.ones(1, 4, 1)
    found = guided_velocity(lambda x: a @ x, x, 0.5, plan, torch.tensor([[1.0, 0, 0, 0]]))
    assert found.flatten().tolist() == pytest.approx([2.5, 0.5, 0.5, 0.5])  # 2 * (1 + 1/4), 2 * 1/4


@pytest.mark.parametrize("kind", ["plain", "grouped", "gemma3_text"])
def test_of_the_expert_it_is_what_finite_differences_say(kind: str) -> None:
    decoder, past, time = expert(kind), past_of(backbone(kind), prefix()), 0.3
    x, plan, weights = noise(), noise(seed=1), torch.linspace(1, 0, ROWS).expand(3, -1)

    def velocity(x: Tensor) -> Tensor:
        return decoder.velocity(x, torch.full(x.shape[:2], time), past)

    def estimate(x: Tensor) -> Tensor:
        return x + (1 - time) * velocity(x)

    with torch.no_grad():
        plain = velocity(x)
        found = correction(guided_velocity(velocity, x, time, plan, weights), plain, time)
        error = weights[..., None] * (plan - estimate(x))
        apart = []
        for seed in range(5):
            way = noise(seed=10 + seed)
            slope = (estimate(x + 0.01 * way) - estimate(x - 0.01 * way)) / 0.02
            true = (error * slope).sum().item()
            assert (found * way).sum().item() == pytest.approx(true, rel=0.01, abs=0.01)
            apart.append(abs((error * way).sum().item() - true))
        assert max(apart) > 0.1  # the identity


def test_a_sample_is_eulers_method_along_it() -> None:
    """Written out with `torch.func.vjp`, the other way to the product."""
    decoder, past = expert(), past_of(backbone("grouped"), prefix())
    plan, weights = noise(seed=1), torch.linspace(1, 0, ROWS).expand(3, -1)
    x, steps = noise(), CONFIG.steps
    identity = x
    for step in range(steps):
        t = step / steps

        def estimate(x: Tensor, t: float = t) -> tuple[Tensor, Tensor]:
            v = decoder.velocity(x, torch.full(x.shape[:2], t), past)
            return x + (1 - t) * v, v

        end, pull, v = torch.func.vjp(estimate, x, has_aux=True)
        factor = min(strength(t), steps)
        x = x + (v + factor * pull(weights[..., None] * (plan - end))[0]).detach() / steps
        end, v = estimate(identity)
        identity = identity + (v + factor * weights[..., None] * (plan - end)).detach() / steps
    found = decoder.sample(past, noise(), plan_of(plan, weights))
    torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-5)
    assert (found - identity).abs().max() > 0.05
