"""What is probably wrong, in plain words. Every rule says in its comment when it speaks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policies.runtime.replay.checks import Setting
from policies.runtime.replay.fitted import Fitted, best_order
from policies.runtime.replay.grippers import UNKNOWN
from policies.runtime.replay.measures import Measures
from policies.runtime.replay.run import Replayed

__all__ = ["Verdict", "judge", "judge_swap", "skill"]

Floats = npt.NDArray[np.float64]

_FACTORS = {
    180 / np.pi: "degrees against radians",
    100.0: "percent against 0 to 1, or centimetres against metres",
    1000.0: "millimetres against metres",
}


@dataclass(frozen=True)
class Verdict:
    """kind: a word to look it up by. text: one line. dimensions: which numbers it is about, [] for all."""

    kind: str
    text: str
    dimensions: tuple[int, ...] = ()


def judge(
    setting: Setting, found: Replayed, measures: Measures | None, fitted: Sequence[Fitted]
) -> list[Verdict]:
    """All warnings, the likeliest cause first; [] where nothing looks wrong."""
    out = [Verdict("setting", note) for note in setting.notes]
    for each in fitted:
        out += _statistics(each, setting)
    if found.holds:
        share = len(found.holds) / len(found.frames)
        out.append(
            Verdict("hold", f"for {share:.0%} of the frames the policy gave no plan: {found.holds[0]}")
        )
    if measures is None:
        return out
    rest = list(range(len(setting.names)))
    for rule in (_order, _constant, _polarity, _scale, _offset, _outside):
        told = rule(measures, setting, rest)  # what is explained is not complained of again
        rest = [i for i in rest if all(i not in verdict.dimensions for verdict in told)]
        out += told
    explained = {verdict.kind for verdict in out} & {"statistics", "permuted", "scale"}
    if skill(measures) > 0.9 and not explained:  # as bad as doing nothing
        out.append(
            Verdict(
                "useless",
                f"the actions are hardly nearer to the recorded ones than standing still (the error is "
                f"{skill(measures):.2f} times as large): look at the pictures (order of cameras, mirrored, "
                "cropped) and at the sentences, or the policy has not learned this task",
            )
        )
    return out


def skill(measures: Measures) -> float:
    """The error over that of standing still, averaged over the dimensions that move; 0 is perfect."""
    moving = measures.moving
    if not moving.any():
        return 0.0
    return float(np.mean(measures.error[moving] / measures.still[moving]))


def judge_swap(pair: tuple[str, str], own: float, swapped: float) -> list[Verdict]:
    """own, swapped: `skill` with the pictures as recorded, and with those of two cameras exchanged."""
    if swapped < 0.7 * own:
        text = (
            f"the cameras '{pair[0]}' and '{pair[1]}' look exchanged: with the pictures of one shown as the "
            f"other's, the error falls from {own:.2f} to {swapped:.2f} times that of standing still"
        )
        return [Verdict("cameras", text)]
    return []


def _statistics(found: Fitted, setting: Setting) -> list[Verdict]:
    what = "the state" if found.feature == "state" else "the actions"
    names = setting.names if found.feature == "actions" else tuple(map(str, range(len(found.ratio))))
    if found.feature == "state" and len(setting.names) == len(found.ratio):
        names = setting.names
    # Narrower than 0.6 of the data, or data far outside of all that was fitted to: the data are other data.
    strange = (found.ratio < 0.6) | (found.beyond > 0.25)
    # Wider by 4: other units if it is so for most; a dataset of one simple task may well use less of a joint.
    wide = found.ratio > 4
    if wide.sum() * 2 >= len(wide):
        strange |= wide
    out = []
    if found.constant.any():
        out.append(
            Verdict(
                "statistics",
                f"the checkpoint takes {what} to be constant in {_list(found.constant, names)}, where the "
                "data vary: it was fitted to other data",
                _places(found.constant),
            )
        )
    if not strange.any():
        return out
    order, gain = best_order(found)
    if found.feature == "state" and gain > 3 and (order != np.arange(len(order))).any():
        pairs = ", ".join(f"{names[j]} where it has {names[i]}" for i, j in enumerate(order) if i != j)
        moved = order != np.arange(len(order))
        text = f"joints are in another order than the checkpoint's: by their ranges the data have {pairs}"
        return [*out, Verdict("permuted", text, _places(moved))]
    factor = float(np.nanmedian(found.ratio[strange])) if not np.isnan(found.ratio[strange]).all() else np.nan
    text = (
        f"the checkpoint's statistics of {what} are not those of the data in {_list(strange, names)}: they "
        f"span {factor:.3g} times as much as the data do{_unit(factor)}"
    )
    if (found.beyond[strange] > 0.25).all() and 0.6 <= factor <= 4:
        text = (
            f"the data go far beyond what the checkpoint was fitted to, in {what}: {_list(strange, names)} "
            "(an offset, or another calibration)"
        )
    return [*out, Verdict("statistics", text, _places(strange))]


def _unit(factor: float) -> str:
    for known, words in _FACTORS.items():
        for one in (known, 1 / known):
            if abs(np.log(factor / one)) < np.log(1.35):
                return f" (about {one:.3g}: {words}?)"
    return ""


def _order(measures: Measures, setting: Setting, rest: Sequence[int]) -> list[Verdict]:
    """Every moved dimension correlates far better with another one than with its own."""
    from scipy.optimize import linear_sum_assignment

    for among in (measures.among, measures.motion_among):
        known = np.nan_to_num(among)
        rows, order = linear_sum_assignment(-known)
        moved = order != rows
        gain = known[rows, order] - np.diag(known)
        if moved.any() and (gain[moved] > 0.2).all() and (known[rows, order][moved] > 0.5).all():
            pairs = ", ".join(
                f"{setting.names[i]} follows the recorded {setting.names[order[i]]}" for i in rows[moved]
            )
            return [Verdict("permuted", f"dimensions are in another order: {pairs}", _places(moved))]
    return []


def _polarity(measures: Measures, setting: Setting, rest: Sequence[int]) -> list[Verdict]:
    """Correlation of something that moves: of a joint below -0.5, of a gripper below -0.3."""
    moving, out = measures.moving, []
    against = [i for i in rest if moving[i] and measures.motion_fit[i] < -0.3]
    for gripper in (i for i in against if i in setting.grippers):
        text = (
            f"the gripper ({setting.names[gripper]}) is inverted: it opens where it was closed in the data "
            f"(correlation {measures.motion_fit[gripper]:+.2f})"
        )
        out.append(Verdict("gripper", text, (gripper,)))
    joints = [i for i in against if i not in setting.grippers and measures.motion_fit[i] < -0.5]
    if joints:
        text = (
            f"the sign is turned round, motion goes against the recorded one: {_names(joints, setting.names)}"
        )
        out.append(Verdict("sign", text, tuple(joints)))
    return out


def _scale(measures: Measures, setting: Setting, rest: Sequence[int]) -> list[Verdict]:
    """Predictions follow the data (correlation above 0.75), but are below 0.6 or above 1.7 times as large;
    or, where that can be told closely (above 0.9), below 0.8 or above 1.25 times."""
    moving, found = measures.moving, []
    for i in (i for i in rest if moving[i]):
        for fit, slope in (
            (measures.fit[i], measures.slope[i]),
            (measures.motion_fit[i], measures.motion_slope[i]),
        ):
            times = slope / fit if fit > 0.75 else np.nan
            close = fit > 0.9 and not 0.8 <= times <= 1.25
            if close or (not np.isnan(times) and not 0.6 <= times <= 1.7):
                found.append((i, float(times)))
                break
    if not found:
        return []
    factor = float(np.median([times for _, times in found]))
    which = [i for i, _ in found]
    text = (
        f"wrong scale: predictions follow the data, but {factor:.2f} times as large{_unit(factor)}, in "
        f"{_names(which, setting.names)}; the statistics are probably another dataset's"
    )
    return [Verdict("scale", text, tuple(which))]


def _offset(measures: Measures, setting: Setting, rest: Sequence[int]) -> list[Verdict]:
    """The mean is off by more than a tenth of the recorded range, and that is most of the error."""
    width = measures.high - measures.low
    least = np.maximum(0.1 * width, 0.8 * measures.error)
    which = [i for i in rest if width[i] > 0 and abs(measures.bias[i]) > least[i]]
    if not which:
        return []
    told = ", ".join(f"{setting.names[i]} by {measures.bias[i]:+.3g}" for i in which)
    return [Verdict("offset", f"shifted: {told} on average (another zero or calibration?)", tuple(which))]


def _constant(measures: Measures, setting: Setting, rest: Sequence[int]) -> list[Verdict]:
    """Predictions do not vary where the recorded ones do."""
    still = measures.moving & ~measures.varies
    which = [i for i in rest if still[i] and i not in setting.grippers]
    out = []
    for i in (i for i in rest if still[i] and i in setting.grippers):
        text = (
            f"the gripper ({setting.names[i]}) is always {measures.predicted_low[i]:.3g}, but opens and "
            "closes in the data: the policy was fitted to data in which it never moves, or has not learned "
            f"it; {UNKNOWN}"
        )
        out.append(Verdict("constant", text, (i,)))
    if which:
        text = f"always the same, but not in the data: {_names(which, setting.names)}"
        out.append(Verdict("constant", text, tuple(which)))
    return out


def _outside(measures: Measures, setting: Setting, rest: Sequence[int]) -> list[Verdict]:
    """More than 5% of the predictions outside the range of all the data, the data's own constant included."""
    which = [i for i in rest if measures.outside[i] > 0.05]
    if not which:
        return []
    told = ", ".join(_out(measures, setting, i) for i in which)
    return [Verdict("outside", f"predictions lie outside of all that was recorded: {told}", tuple(which))]


def _out(measures: Measures, setting: Setting, i: int) -> str:
    share = f"{setting.names[i]} {measures.outside[i]:.0%}"
    if measures.low[i] < measures.high[i]:
        return share
    low, high = measures.predicted_low[i], measures.predicted_high[i]
    open_ = f"; {UNKNOWN}" if i in setting.grippers else ""
    return f"{share} (always {measures.low[i]:.3g} in the data, {low:.3g} to {high:.3g} predicted{open_})"


def _places(mask: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(mask))


def _list(mask: npt.NDArray[np.bool_], names: Sequence[str]) -> str:
    return _names(_places(mask), names)


def _names(which: Sequence[int], names: Sequence[str]) -> str:
    return ", ".join(names[i] for i in which)
