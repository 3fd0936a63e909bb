"""The safety filter: from what is wanted to what is sent, once a control tick. It cannot be turned off.

See `limiter` for limits of the joints, `places` for where the arm may be, `following` for readings that do
not agree with what was sent, and docs/safety.md for what all of it guarantees.
"""

from typing import Any

import numpy as np

from policies.runtime.safety.config import Safety
from policies.runtime.safety.decision import Decision, Intervention
from policies.runtime.safety.explain import explain
from policies.runtime.safety.following import Following, Gripper
from policies.runtime.safety.limiter import Limiter, Proposal
from policies.runtime.safety.limits import box_of, distances_of
from policies.runtime.safety.refusal import refusal
from vla.arm import ArmFault, ArmSpec, Positions
from vla.errors import BadInput
from vla.interfaces import ActionChunk

__all__ = ["SafetyFilter"]

BLENDS = 3
"""How often the way from the braking step to a command that leads to a bad place is halved."""


class SafetyFilter:
    """What stands between a policy and an arm of `spec` that is commanded `hz` times a second.

    notes: what it cannot check on this arm and, after `start`, what is wrong where that was, one line each,
    to be shown to whoever starts it. Raises BadInput for settings that do not fit the arm.
    """

    def __init__(self, spec: ArmSpec, safety: Safety, hz: float) -> None:
        if not (np.isfinite(hz) and hz > 0):
            raise BadInput(f"safety: {hz} commands a second: a number above 0 is needed")
        self.spec, self.safety, self.hz = spec, safety, hz
        self._limits = box_of(spec, safety)
        self._most = distances_of(spec, safety)
        self._limiter = Limiter(
            self._limits,
            hz,
            ramp_seconds=safety.ramp_seconds,
            ramp_scale=safety.ramp_scale,
            recovery_scale=safety.recovery_scale,
        )
        self._following = Following(self._most.following)
        self._grippers = {
            index: Gripper(safety.gripper_ahead * (joint.upper - joint.lower), joint.upper - joint.lower, hz)
            for index, joint in enumerate(spec.joints)
            if joint.gripper
        }
        self._places: Any = None
        if spec.body is None:
            self.notes: tuple[str, ...] = (
                "the arm has no model of its body: workspace, table, obstacles and self-collision are "
                "not checked",
            )
        else:
            from policies.runtime.safety.places import Places  # imports mujoco

            self._places = Places(spec, safety)
            self.notes = self._places.notes
        self._about_arm = self.notes
        self._started = False

    def start(self, measured: Positions) -> None:
        """The arm is at rest where it is measured. Raises ArmFault where that cannot be so."""
        trouble = self._no_reading(measured)
        if trouble:
            raise ArmFault(f"the arm's reading cannot be started from: {trouble}")
        measured = np.array(measured, np.float64)
        lower, upper = self._limits.lower, self._limits.upper
        far = np.maximum(measured - upper, lower - measured) > upper - lower
        if far.any():
            index = int(far.argmax())
            joint = self.spec.joints[index]
            raise ArmFault(
                f"joint '{joint.name}' is measured at {measured[index]:.6g} {joint.unit}, far outside its "
                f"limits, {lower[index]:g} .. {upper[index]:g}: is its calibration another arm's?"
            )
        self._limiter.start(measured)
        self._following.start()
        for index, gripper in self._grippers.items():
            gripper.start()
            gripper.see(float(measured[index]), 1)
        start = [
            f"'{joint.name}' is at {at:.6g} {joint.unit}, outside {low:g} .. {high:g}: it comes back slowly"
            for joint, at, low, high in zip(self.spec.joints, measured, lower, upper, strict=True)
            if not low <= at <= high
        ]
        if self._places is not None and self._places.watches:
            start += [f"{line}, and may not get worse" for line in self._places.start(measured)]
        self.notes = (*self._about_arm, *(f"where it starts, {line}" for line in start))
        self._started = True

    def refuse(self, chunk: ActionChunk) -> str:
        """Why `chunk` must not be run (hold, not finite, too unsure, too far away); empty: it may be."""
        return refusal(chunk, self.spec, self._most, self._present)

    @property
    def _present(self) -> Positions:
        if not self._started:
            raise BadInput("the safety filter was not started: it does not know where the arm is")
        return self._limiter.p

    def decide(self, wanted: Positions | None, measured: Positions, dt_steps: int = 1) -> Decision:
        """What to send at this tick. wanted: float64 ``[joints]``; None: brake, then stay.

        dt_steps: ticks since the last decision; more than 1 if some were missed. Whatever `wanted` and
        `measured` are, a decision comes back. Raises BadInput before `start`.
        """
        before = self._present
        limiter, done = self._limiter, list[Intervention]()
        if dt_steps > 1:
            limiter.missed(dt_steps - 1)
            done.append(Intervention("late", "", f"{dt_steps - 1} control ticks were missed"))
        goal = self._goal(wanted, done)
        unread = self._no_reading(measured)
        if unread:
            done.append(Intervention("measured", "", f"{unread}: the arm is held"))
            goal = None
        else:
            goal = self._follow(goal, np.asarray(measured, np.float64), max(dt_steps, 1), done)
        proposal = limiter.propose(np.full(len(before), np.nan) if goal is None else goal)
        if goal is not None:
            done += explain(limiter, self.spec, goal, proposal)
            proposal = self._place(proposal, done)
        limiter.move(proposal.command, proposal.change, proposal.same)
        return Decision(proposal.command.copy(), goal is None, tuple(done))

    def _goal(self, wanted: Any, done: list[Intervention]) -> Positions | None:
        """`wanted` as numbers for each joint; None to hold."""
        if wanted is None:
            return None
        try:
            goal = np.array(wanted, np.float64)
        except (TypeError, ValueError):
            done.append(Intervention("width", "", f"a command of {type(wanted).__name__}: the arm is held"))
            return None
        if goal.shape != (len(self.spec.joints),):
            shapes = f"a command of shape {list(goal.shape)}, not [{len(self.spec.joints)}]"
            done.append(Intervention("width", "", f"{shapes}: the arm is held"))
            return None
        finite = np.isfinite(goal)
        if finite.all():
            return goal
        for index in np.flatnonzero(~finite):
            detail = f"{goal[index]} is wanted: the arm is held"
            done.append(Intervention("not_finite", self.spec.joints[index].name, detail))
        return None

    def _no_reading(self, measured: Any) -> str:
        """Why `measured` is no reading of this arm; empty if it is one."""
        try:
            values = np.asarray(measured, np.float64)
        except (TypeError, ValueError):
            return f"a reading of {type(measured).__name__}"
        if values.shape != (len(self.spec.joints),):
            return f"a reading of shape {list(values.shape)}, not [{len(self.spec.joints)}]"
        finite = np.isfinite(values)
        if finite.all():
            return ""
        bad = int(finite.argmin())
        return f"'{self.spec.joints[bad].name}' is measured at {values[bad]}"

    def _follow(
        self, goal: Positions | None, measured: Positions, ticks: int, done: list[Intervention]
    ) -> Positions | None:
        """`goal`, less far for a gripper that is blocked; None where a joint does not follow."""
        sent = self._limiter.p
        lagging = self._following.lagging(sent, measured)
        if lagging.any():
            for index in lagging.nonzero()[0]:
                joint, most = self.spec.joints[index], self._most.following[index]
                detail = (
                    f"measured at {measured[index]:.6g} {joint.unit}, sent to {sent[index]:.6g}: "
                    f"{abs(measured[index] - sent[index]):.4g} apart, at most {most:.4g}"
                )
                done.append(Intervention("following", joint.name, detail))
            # Only what brings every such joint's command nearer to where it is may be wanted.
            back = goal is not None and np.abs(goal - measured)[lagging] < np.abs(sent - measured)[lagging]
            if not np.all(back):
                goal = None
        for index, gripper in self._grippers.items():
            gripper.see(float(measured[index]), ticks)
            if goal is None:
                continue
            wanted, goal[index] = float(goal[index]), gripper.allowed(float(goal[index]))
            if goal[index] != wanted:
                joint = self.spec.joints[index]
                detail = (
                    f"blocked at {measured[index]:.4g} {joint.unit}: {wanted:.4g} is wanted, "
                    f"{goal[index]:.4g} at most {gripper.ahead:.4g} further"
                )
                done.append(Intervention("gripper", joint.name, detail))
        return goal

    def _place(self, proposal: Proposal, done: list[Intervention]) -> Proposal:
        """`proposal`, or so much of it, towards the braking step, that its stop leads to no bad place."""
        places, limiter = self._places, self._limiter
        if places is None or not places.watches:
            return proposal
        found = places.violation(proposal.command, proposal.stop, limiter.q)
        if found is None:
            return proposal
        braking = limiter.braking()
        good, share, step = braking, 0.0, 0.5
        for _ in range(BLENDS):
            change = braking + (share + step) * (proposal.change - braking)
            command, how = limiter.command(change), limiter.stop_from(change)
            if places.violation(command, how, limiter.q) is None:
                good, share = change, share + step
            step /= 2
        done.append(Intervention(found.kind, "", f"{found.detail}: {share:.0%} of the step is taken"))
        none = np.zeros_like(proposal.same)
        return Proposal(limiter.command(good), good, none, limiter.stop_from(good))
