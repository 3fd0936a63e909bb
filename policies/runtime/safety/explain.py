"""Sentences about joints whose wanted command could not be sent: which limit first, and by how much."""

from policies.runtime.safety.decision import Intervention
from policies.runtime.safety.limiter import Limiter, Proposal
from vla.arm import ArmSpec, Positions

__all__ = ["explain"]


def explain(limiter: Limiter, spec: ArmSpec, wanted: Positions, proposal: Proposal) -> list[Intervention]:
    """One intervention for each joint that does not get what is `wanted`. To be asked before it moves."""
    return [
        _joint(limiter, spec, index, float(wanted[index]), float(proposal.command[index]))
        for index in (~proposal.same).nonzero()[0]
    ]


def _joint(limiter: Limiter, spec: ArmSpec, index: int, wanted: float, sent: float) -> Intervention:
    joint, hz, box = spec.joints[index], limiter.hz, limiter.limits
    name, unit = joint.name, joint.unit
    p, v, a = (float(x[index]) for x in (limiter.p, limiter.v, limiter.a))
    lower, upper = float(box.lower[index]), float(box.upper[index])
    goes = f"{sent:.6g} is sent"
    if p < lower or p > upper:
        detail = f"at {p:.6g} {unit} it is outside {lower:g} .. {upper:g} and comes back slowly: {goes}"
        return Intervention("outside", name, detail)
    if not lower <= wanted <= upper:
        return Intervention(
            "position", name, f"{wanted:.6g} {unit} is outside {lower:g} .. {upper:g}: {goes}"
        )
    speed = wanted - p
    change = speed - v
    jerk = change - a
    scale = limiter.scale
    for what, value, per in (
        ("speed", speed * hz, "s"),
        ("acceleration", change * hz**2, "s2"),
        ("jerk", jerk * hz**3, "s3"),
    ):
        most = float(getattr(box, what)[index])
        if abs(value) > most * (1 - 1e-6):
            detail = f"{value:.4g} {unit}/{per} to {wanted:.6g} {unit}, at most {most:.4g}: {goes}"
            return Intervention(what, name, detail)  # type: ignore[arg-type]
        if abs(value) > scale * most * (1 - 1e-6):
            detail = (
                f"{what} {value:.4g} {unit}/{per}, at most {scale * most:.4g} so soon after the start: {goes}"
            )
            return Intervention("ramp", name, detail)
    why = "from there it could not stop within its limits, or not go on with what is wanted"
    detail = f"{wanted:.6g} {unit} is wanted, but {why}: {goes}"
    return Intervention("stopping", name, detail)
