"""Whether two datasets of one robot are in the same units and both have places, or both steps, as actions.

Only what is clear is refused: a unit scales what a number spans and how far it gets from zero, alike in all
joints. Another task makes some joints move less, or about another place, which is neither.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vla.data.motion import Motion, Span
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE

__all__ = ["check_same_motion"]

FACTOR = 8.0
"""The scale from which units differ, in the median over the joints: tasks of one arm differ by three or so,
the units that are in use (degrees and radians, metres and centimetres, shares and per cent) by 57 or more."""
ALIKE = 5.0
"""By how much a joint's scale may differ from the median: so far another task may go beside another unit."""
SHARE = 0.75
"""Of the joints, how many must be scaled alike: a gripper often keeps a unit of its own, but a dataset in
which half of the joints rest is of another task."""
LEAST_JOINTS = 2
"""One joint that moves eight times as far is a task."""
_NOTHING = 1e-9
"""Of the widest span: what is less than that does not move."""


def check_same_motion(one: Path, first: Motion, other: Path, second: Motion) -> None:
    """Raise BadInput, naming both folders, what was seen and the remedy, where two datasets of one robot
    clearly differ in units, or in what an action is to the state."""
    _check_relation(one, first, other, second)
    _check_slopes(one, first, other, second)
    for key in (STATE, ACTION):
        scale = _scale(first.spans[key], second.spans[key])
        if scale is None:
            continue
        larger, smaller, big, small = (
            (one, other, first, second) if scale[0] > 1 else (other, one, second, first)
        )
        factor, place = max(scale[0], 1 / scale[0]), scale[1]
        raise BadInput(
            f"{larger} and {smaller} are of one robot, but '{key}' is about {factor:.3g} times as large in "
            f"the first (number {place} goes from {_ends(big.spans[key], place)}, in the second from "
            f"{_ends(small.spans[key], place)}): other units{_guess(factor)}; convert one of them{_REMEDY}"
        )


_REMEDY = (
    ", or give them different robot_type and name both in model.state.robots, or train with "
    "reading.compare=false where that is meant"
)


def _check_relation(one: Path, first: Motion, other: Path, second: Motion) -> None:
    both = [
        (place, a, b)
        for place, (a, b) in enumerate(zip(first.relations, second.relations, strict=True))
        if "unclear" not in (a, b)
    ]
    against = [place for place, a, b in both if a != b]
    if len(against) * 2 <= len(both) or len(against) < min(LEAST_JOINTS, len(first.relations)):
        return
    place = against[0]
    places, steps = (one, other) if first.relations[place] == "absolute" else (other, one)
    wide, narrow = (
        motion.spans[ACTION] for motion in ((first, second) if places is one else (second, first))
    )
    raise BadInput(
        f"{places} and {steps} are of one robot, but '{ACTION}' follows '{STATE}' in the first (absolute: "
        f"number {place} goes from {_ends(wide, place)}) and is the way to go in the second (delta: from "
        f"{_ends(narrow, place)}), in {len(against)} of {len(first.relations)} numbers; convert one of them, "
        f"say deltas into state + delta{_REMEDY}"
    )


def _check_slopes(one: Path, first: Motion, other: Path, second: Motion) -> None:
    """What an absolute action is to its own state is no matter of the task: one number is enough."""
    ratio = first.slopes / second.slopes  # NaN where either is not absolute
    off = np.nan_to_num(np.abs(np.log(ratio)))
    place = int(np.argmax(off))
    if off[place] < np.log(FACTOR):
        return
    mine, theirs = first.slopes[place], second.slopes[place]
    raise BadInput(
        f"{one} and {other} are of one robot, but number {place} of '{ACTION}' is {mine:.3g} times '{STATE}' "
        f"in the first and {theirs:.3g} times in the second: other units"
        f"{_guess(float(np.exp(off[place])))}; convert one of them{_REMEDY}"
    )


def _scale(one: Span, other: Span) -> tuple[float, int] | None:
    """By what the first is larger than the second, and the number where that is seen best; None where it
    is not clear."""
    moves = _moves(one) & _moves(other)
    if moves.sum() < LEAST_JOINTS:
        return None
    width, reach = one.width[moves] / other.width[moves], one.reach[moves] / other.reach[moves]
    factor, far = float(np.median(width)), float(np.median(reach))
    if max(factor, 1 / factor) < FACTOR or max(far, 1 / far) < FACTOR or (factor > 1) != (far > 1):
        return None
    off = np.abs(np.log(width / factor))
    if (
        np.mean(off < np.log(ALIKE)) < SHARE
        or np.mean(np.abs(np.log(reach / factor)) < np.log(ALIKE)) < SHARE
    ):
        return None
    return factor, int(np.flatnonzero(moves)[np.argmin(off)])


def _moves(span: Span) -> npt.NDArray[np.bool_]:
    return span.width > _NOTHING * span.width.max(initial=0.0)


def _ends(span: Span, place: int) -> str:
    return f"{span.low[place]:.3g} to {span.high[place]:.3g}"


def _guess(factor: float) -> str:
    """The units that a factor is usual for, in words; a task beside them may half or double it."""
    if 57.3 / 1.5 < factor < 57.3 * 1.5:
        return ", as of degrees and radians"
    return ""
