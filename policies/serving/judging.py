"""What a policy is, what its errors mean to a client, and which of its chunks can be run."""

import logging

import numpy as np

from policies.about import about_of
from policies.base import Continuing, Policy, Watcher
from policies.serving.errors import BadObservation, PolicyFailed, Refusal
from policies.serving.protocol import Facts
from vla.errors import BadInput
from vla.interfaces import ActionChunk, Observation

__all__ = ["facts_of", "safe", "told"]


def facts_of(policy: Policy) -> Facts:
    """What clients learn of a policy."""
    about = about_of(policy)
    return Facts(
        policy.name,
        policy.horizon,
        int(getattr(policy, "execute", policy.horizon)),
        isinstance(policy, Watcher) and bool(policy.watching),
        isinstance(policy, Continuing) and bool(policy.continues),
        tuple(about.cameras),
        0 if about.robots else about.body("").action_dim or 0,
        about,
    )


def told(error: Exception) -> Refusal:
    """What a client is told of what the policy raised. A fault of the program keeps its details here."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, BadInput):
        return BadObservation(str(error))
    logging.getLogger(__name__).error("the policy failed", exc_info=error)
    return PolicyFailed(f"the policy failed with {type(error).__name__}; the server's log has the details")


def safe(chunk: ActionChunk, observation: Observation) -> ActionChunk:
    """The chunk, or one that holds where it cannot be run."""
    actions = chunk.actions
    if chunk.hold:
        return chunk
    if actions.ndim != 2 or not len(actions) or not np.isfinite(actions).all():
        why = "has no actions" if not actions.size else "is not finite"
        dim = actions.shape[-1] if actions.ndim else 0
        return ActionChunk.holding(f"the policy's chunk {why}", observation, dim)
    return chunk
