"""Whether a reading of the joints can be true: nothing moves farther than it can in the time there was.

A reading that leapt is not believed, and holds the arm. What follows decides what it was. Readings that agree
with the place before were interrupted by a wrong one, and all is well again. Readings that agree with the new
place, for a while, are the truth, and no motion explains it: the arm was moved by force, or an encoder or a
horn slipped. Then nobody knows any more what the limits are worth, so that is told as final.

The time there was is between the earliest moment that the reading before may be of and the latest that this
one may be: an answer that came late may be of any moment since it was asked for.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.arm import ArmSpec, Positions

__all__ = ["SLACK", "Leap", "Leaps"]

SLACK = 0.02
"""Part of a joint's range that any two readings may differ by: a servo's own noise and rounding."""

UNCERTAIN, UNCERTAIN_GRIPPER = 0.02, 0.1
"""Seconds on top of what is known of the time between two readings: servos measure a few dozen times a second
and simulations in steps; a gripper's width often comes by a way of its own, and seldom."""

LAG = 0.1
"""Seconds by which a joint may follow its command. After a leap it is told to brake, so that it can go on for
this, and for the time that braking takes, but no longer: waiting brings nothing nearer."""


@dataclass(frozen=True)
class Leap:
    """What is wrong, in a sentence; lasting: the new place has stayed for so long that it is the truth."""

    text: str
    lasting: bool


@dataclass
class _Place:
    """positions, and the earliest moment that they may be of."""

    positions: Positions
    earliest: float


@dataclass
class _Suspect:
    """Where the joints seem to have leapt to, and when that was first read. joints: which leapt. ill: when a
    reading was first not believed."""

    place: _Place
    since: float
    ill: float
    joints: npt.NDArray[np.bool_]
    text: str


class Leaps:
    """For one arm. margin: how many times its speed limit a joint may go. lasting: seconds for which a place
    that could not be reached must be read to be taken for true."""

    def __init__(self, spec: ArmSpec, margin: float, lasting: float) -> None:
        self._spec, self._lasting = spec, lasting
        self._fastest = margin * spec.limits("speed")
        self._range = spec.limits("upper") - spec.limits("lower")
        gripper = np.array([joint.gripper for joint in spec.joints])
        self._uncertain = np.where(gripper, UNCERTAIN_GRIPPER, UNCERTAIN)
        self._brakes = LAG + 2.0 * spec.limits("speed") / spec.limits("acceleration")
        self._believed: _Place | None = None
        self._suspect: _Suspect | None = None

    def believe(self, positions: Positions, earliest: float) -> None:
        """The joints are here, whatever was read before."""
        self._believed, self._suspect = _Place(positions, earliest), None

    def unknown(self, seconds: float) -> None:
        """So much more time may have gone by than the clock says."""
        for place in (self._believed, None if self._suspect is None else self._suspect.place):
            if place is not None:
                place.earliest -= seconds

    def judge(self, positions: Positions, earliest: float, latest: float) -> Leap | None:
        """What is wrong with this reading; None: it is believed. earliest, latest: when it may be of."""
        before, suspect = self._believed, self._suspect
        leapt: npt.NDArray[np.bool_] = np.zeros(len(positions), np.bool_)
        if before is not None:
            most = latest if suspect is None else np.minimum(latest, suspect.ill + self._brakes)
            leapt = self._leapt(before, positions, most)
        if not leapt.any() and (suspect is None or self._returned(positions, suspect)):
            self.believe(positions, earliest)
            return None
        here = _Place(positions, earliest)
        if suspect is None or self._leapt(suspect.place, positions, latest).any():
            assert before is not None
            seconds = max(latest - before.earliest, 0.0)
            ill = latest if suspect is None else suspect.ill
            leapt = leapt if suspect is None or leapt.any() else suspect.joints
            suspect = _Suspect(here, latest, ill, leapt, self._told(before, positions, leapt, seconds))
        else:
            suspect.place = here
        self._suspect = suspect
        lasted = latest - suspect.since
        if lasted < self._lasting:
            return Leap(f"{suspect.text}: not believed", False)
        why = "the arm was moved by force, or its encoder or horn slipped"
        remedy = "check calibration and mechanics, then start anew"
        return Leap(f"{suspect.text} and has stayed there for {lasted:.2f} s: {why}; {remedy}", True)

    def _leapt(self, place: _Place, positions: Positions, latest: float | Positions) -> npt.NDArray[np.bool_]:
        seconds = np.maximum(latest - place.earliest, 0.0)
        most = self._fastest * (seconds + self._uncertain) + SLACK * self._range
        return np.abs(positions - place.positions) > most

    def _returned(self, positions: Positions, suspect: _Suspect) -> bool:
        """Whether the joints that leapt are nearer to where they were than to where they leapt."""
        assert self._believed is not None
        from_before = np.abs(positions - self._believed.positions)
        from_leap = np.abs(positions - suspect.place.positions)
        return bool((from_before < from_leap)[suspect.joints].all())

    def _told(
        self, before: _Place, positions: Positions, leapt: npt.NDArray[np.bool_], seconds: float
    ) -> str:
        moved = np.abs(positions - before.positions)
        far = int(np.argmax(np.where(leapt, moved / self._range, -1.0)))
        joint, at = self._spec.joints[far], before.positions[far]
        return (
            f"joint '{joint.name}' cannot have moved {moved[far]:.4g} {joint.unit} within {seconds:.3f} s, "
            f"but is read at {positions[far]:.4g} after {at:.4g}"
        )
