"""Whether a policy and an arm belong together, before anything moves."""

from dataclasses import dataclass

import numpy as np

from policies.about import about_of
from policies.base import Policy, Watcher
from vla.arm import ArmSpec
from vla.errors import BadInput, did_you_mean
from vla.interfaces import ActionChunk, Observation

__all__ = ["Facts", "check_fit", "doubts", "facts_of", "rates", "rehearse"]


@dataclass(frozen=True)
class Facts:
    """What a policy says of itself; None or empty: it does not say.

    robots: the names it was trained with. joints: their names, in order. cameras: those it looks through.
    state_dim, action_dim: numbers of a state, 0 if it is shown none, and of an action. hz: control steps a
    second.
    """

    robots: tuple[str, ...] = ()
    joints: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    state_dim: int | None = None
    action_dim: int | None = None
    hz: float | None = None


def facts_of(policy: Policy, robot: str) -> Facts:
    """What `policies.about` knows of it, wherever it runs. robot: the arm's, for policies of several."""
    said = about_of(policy)
    body = said.body(robot)
    return Facts(said.robots, body.joints, tuple(said.cameras), body.state_dim, body.action_dim, said.hz)


def check_fit(policy: Policy, spec: ArmSpec) -> None:
    """Raise BadInput where the policy is of another robot, other joints or cameras that this arm lacks."""
    facts, whose = facts_of(policy, spec.robot), f"policy '{policy.name}'"
    if facts.robots and spec.robot not in facts.robots:
        known = did_you_mean(spec.robot, facts.robots)
        raise BadInput(f"{whose} was trained for another robot than '{spec.robot}'{known}")
    mine = tuple(name.removesuffix(".pos") for name in spec.names)
    theirs = tuple(name.removesuffix(".pos") for name in facts.joints)
    if theirs and theirs != mine:
        what = "in another order" if sorted(theirs) == sorted(mine) else "others"
        raise BadInput(
            f"{whose} has the joints {', '.join(theirs)}; this arm's are {what}: {', '.join(mine)}"
        )
    if facts.action_dim is not None and facts.action_dim != len(mine):
        raise BadInput(
            f"{whose} moves {facts.action_dim} joints, the arm '{spec.robot}' has {len(mine)}: "
            "it was trained for another robot"
        )
    if facts.state_dim not in (None, 0, len(mine)):
        raise BadInput(
            f"{whose} wants a state of {facts.state_dim} numbers, the arm '{spec.robot}' has {len(mine)} "
            "joints: it was trained for another robot"
        )
    for camera in facts.cameras:
        if camera not in spec.cameras:
            hint = did_you_mean(camera, spec.cameras) or "; it has no camera"
            raise BadInput(f"{whose} looks through the camera '{camera}', which the arm does not have{hint}")


def doubts(policy: Policy, spec: ArmSpec) -> tuple[str, ...]:
    """What a policy does not say of itself, so that nothing here could check it: to be shown before it moves
    an arm. Only of those that were trained (they know how many numbers an action has)."""
    facts = facts_of(policy, spec.robot)
    if facts.action_dim is None or facts.robots or facts.joints:
        return ()
    return (
        f"'{policy.name}' does not say for which robot it was trained, nor its joints' names: that it is of "
        f"'{spec.robot}', with these joints in this order, is yours to know",
    )


def rates(policy: Policy, spec: ArmSpec, hz: float | None, policy_hz: float | None) -> tuple[float, float]:
    """Commands and control steps a second. Raises BadInput where they are unknown or cannot be."""
    hz = spec.hz if hz is None else hz
    own = facts_of(policy, spec.robot).hz
    steps = own if policy_hz is None else policy_hz
    if steps is None:
        raise BadInput(
            f"policy '{policy.name}' does not say how many control steps a second it was trained with: "
            "give policy_hz (control.policy_hz=HZ in a command)"
        )
    if steps > hz:
        raise BadInput(f"policy_hz={steps:g} is above the arm's hz={hz:g}: a step needs at least one command")
    return hz, steps


def rehearse(policy: Policy, observation: Observation, spec: ArmSpec) -> ActionChunk:
    """Ask once, before anything moves: libraries are loaded, and an answer of another width is found.

    Raises BadInput for an answer that is no plan for this arm; what the policy raises passes through.
    """
    policy.reset(1)
    if isinstance(policy, Watcher) and policy.watching:
        policy.observe([observation], [0])
    [chunk] = policy.act([observation], [0])
    actions = np.asarray(chunk.actions)
    if not chunk.hold and actions.shape[1:] != (len(spec.joints),):
        raise BadInput(
            f"policy '{policy.name}' answers with actions of shape {list(actions.shape)}, "
            f"the arm '{spec.robot}' has {len(spec.joints)} joints: it was trained for another robot"
        )
    policy.reset(1)
    return chunk
