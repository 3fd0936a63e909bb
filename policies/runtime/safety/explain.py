"""Sentences about joints whose wanted command could not be sent: which limit first, and by how much."""

from policies.runtime.safety.decision import Intervention, Kind
from policies.runtime.safety.limiter import Limiter, Proposal
from vla.arm import ArmSpec, Joint, Positions

__all__ = ["explain"]


def explain(limiter: Limiter, spec: ArmSpec, wanted: Positions, proposal: Proposal) -> list[Intervention]:
    """One intervention for each joint that does not get what is `wanted`. To be asked before it moves."""
    indices = (~proposal.same).nonzero()[0].tolist()
    if not indices:
        return []
    state = (limiter.p, limiter.v, limiter.a, *limiter.limits, wanted, proposal.command)
    rows = list(zip(*(numbers.tolist() for numbers in state), strict=True))
    hz, scale = limiter.hz, limiter.scale
    return [_joint(spec.joints[index], rows[index], hz, scale) for index in indices]


def _joint(joint: Joint, state: tuple[float, ...], hz: float, scale: float) -> Intervention:
    """state: where it is, with v and a in tick units; its limits; what is wanted, what is sent."""
    p, v, a, lower, upper, *most, wanted, sent = state
    name, unit = joint.name, joint.unit
    if p < lower or p > upper:
        detail = f"at {p:.6g} {unit} it is outside {lower:g} .. {upper:g} and comes back slowly"
        return Intervention("outside", name, f"{detail}: {sent:.6g} is sent")
    if not lower <= wanted <= upper:
        detail = f"{wanted:.6g} {unit} is outside {lower:g} .. {upper:g}: {sent:.6g} is sent"
        return Intervention("position", name, detail)
    change = wanted - p - v
    values = ((wanted - p) * hz, change * hz**2, (change - a) * hz**3)
    for (what, per), value, limit in zip(_LIMITS, values, most, strict=True):
        if abs(value) > limit * (1 - 1e-6):
            detail = f"{value:.4g} {unit}/{per} to {wanted:.6g} {unit}, at most {limit:.4g}"
            return Intervention(what, name, f"{detail}: {sent:.6g} is sent")
        if abs(value) > scale * limit * (1 - 1e-6):
            detail = f"{what} {value:.4g} {unit}/{per}, at most {scale * limit:.4g} so soon after the start"
            return Intervention("ramp", name, f"{detail}: {sent:.6g} is sent")
    why = "from there it could not stop within its limits, or not go on with what is wanted"
    return Intervention("stopping", name, f"{wanted:.6g} {unit} is wanted, but {why}: {sent:.6g} is sent")


_LIMITS: tuple[tuple[Kind, str], ...] = (("speed", "s"), ("acceleration", "s2"), ("jerk", "s3"))
