"""What a replay leaves open of a gripper's polarity, in words: it must move in the recording to be judged."""

from policies.runtime.replay.checks import Setting
from policies.runtime.replay.measures import Measures

__all__ = ["UNKNOWN", "undecided"]

UNKNOWN = "whether it is inverted cannot be told"
_FOLLOWS = 0.3
"""Correlation from which on a gripper is taken to follow the recorded one, or to go against it."""


def undecided(setting: Setting, measures: Measures | None) -> list[str]:
    """A line for each gripper whose polarity the replay leaves open, with what would show it; [] where all
    were judged. These are no warnings: nothing is wrong with such a recording, it only tells little."""
    if not setting.grippers:
        return [
            "No number of the action is called a gripper: if one is, say which with gripper=NUMBER, so that "
            "an inverted one is told."
        ]
    if measures is None:
        return []
    lines = []
    for i in setting.grippers:
        reason = _why(measures, i)
        if reason:
            name = setting.names[i]
            lines.append(f"The gripper{'' if name == 'gripper' else f' ({name})'} {reason}.")
    return lines


def _why(measures: Measures, i: int) -> str:
    """Why nothing can be said, and what to do; empty where it can."""
    another = "replay an episode in which it opens and closes"
    if measures.low[i] == measures.high[i]:
        return f"is always {measures.low[i]:.3g} in the data: {UNKNOWN}; {another}"
    if not measures.moving[i]:
        whole = f"({measures.low[i]:.3g} to {measures.high[i]:.3g} in all the data)"
        return f"hardly moves in the replayed frames {whole}: {UNKNOWN}; give more frames=, or {another}"
    if not measures.varies[i]:
        return ""  # a warning of its own says so
    if abs(measures.motion_fit[i]) < _FOLLOWS:
        return (
            f"neither follows the recorded one nor goes against it (correlation "
            f"{measures.motion_fit[i]:+.2f}): {UNKNOWN}; give more frames=, or the policy has not learned it"
        )
    return ""
