"""The plan in flight, and how a flow is guided to agree with it.

While a policy thinks, its last plan is still being carried out. The new chunk has to agree with the part of
that plan that will have been executed by the time it arrives, and should not jump away from the part after:
real-time chunking (Black, Galliker and Levine 2025, "Real-Time Execution of Action Chunking Flow Policies").

A flow carries noise (time 0) to a chunk (time 1) along a velocity. Half-way it already says where it will
end, and the velocity is corrected so that this estimate moves towards the plan. How a nudge of the state
moves the estimate is the Jacobian of the whole network; the correction is the error times that Jacobian, one
backward pass. (To take the identity in its place saves the pass and is another method: every row is moved by
its own error alone, and the rows beside a kept one hear of it only at the next step, as of noise.)

Shapes: B batch, H rows of the chunk, D action dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["STRONGEST", "Plan", "guided_velocity", "strength"]

STRONGEST = 5.0
"""Bound of the correction's factor (the paper's beta)."""


@dataclass(frozen=True)
class Plan:
    """A batch's plans in flight; an observation without one has weights of 0 and a delay of 0.

    Attributes:
        chunk: float32 [B, H, D], normalised, row 0 being the new chunk's row 0; what the plan does not reach
            is 0, with a weight of 0.
        weights: float32 [B, H], 1 where the row must be kept .. 0 where it is free.
        delay: int64 [B], how many first rows will have been executed when the new chunk arrives.
    """

    chunk: Tensor
    weights: Tensor
    delay: Tensor


def strength(time: float, strongest: float = STRONGEST) -> float:
    """The correction's factor at a time in 0..1: min(strongest, (1 - t) / (t r^2)) with
    r^2 = (1 - t)^2 / (t^2 + (1 - t)^2), equations 2 and 4 of the paper."""
    if time <= 0 or time >= 1:
        return strongest
    return min(strongest, (time**2 + (1 - time) ** 2) / (time * (1 - time)))


def guided_velocity(
    velocity: Callable[[Tensor], Tensor],
    x_BHD: Tensor,
    time: float,
    plan_BHD: Tensor,
    weights_BH: Tensor,
    *,
    strongest: float = STRONGEST,
) -> Tensor:
    """[B, H, D]: the velocity at x, corrected towards the plan by `weights` (equations 2 and 3).

    The estimate is x + (1 - time) velocity(x), the correction the vector-Jacobian product of the weighted
    error with d estimate / d x. velocity: differentiable, and made of ordinary tensors (not of those of
    ``torch.inference_mode``). Rows are pulled, not set: those of weight 1 come near the plan, not on it.
    """
    with torch.enable_grad():
        x = x_BHD.detach().requires_grad_()
        v = velocity(x)
        estimate = x + (1 - time) * v
    error = weights_BH[..., None] * (plan_BHD - estimate.detach())
    (correction,) = torch.autograd.grad(estimate, x, error)
    return v.detach() + strength(time, strongest) * correction
