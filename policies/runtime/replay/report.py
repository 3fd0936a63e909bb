"""A replay as tables, as lines and as JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from policies.runtime.replay.checks import Setting
from policies.runtime.replay.fitted import Fitted
from policies.runtime.replay.grippers import undecided
from policies.runtime.replay.measures import Measures
from policies.runtime.replay.run import Replayed
from policies.runtime.replay.verdicts import Verdict, skill

__all__ = ["as_json", "report"]

FEW = 100
NOT_JUDGED = (
    "Not judged: pictures that are mirrored, cropped or of another light; cameras in another order, but for "
    "exchanges of two; and whether the policy would do well, as it was only asked what it would do."
)


def report(
    setting: Setting,
    found: Replayed,
    measures: Measures | None,
    fitted: Sequence[Fitted],
    verdicts: Sequence[Verdict],
) -> str:
    """Markdown tables, then what is wrong or that nothing looks wrong."""
    lines = []
    if measures is not None:
        lines += [*_predictions(setting, measures), ""]
    for each in fitted:
        lines += [*_statistics(setting, each), ""]
    lines.append(
        f"{len(found.frames)} frames of {len(np.unique(found.episode))} episodes, "
        f"{1000 * found.seconds:.1f} ms of computing each."
    )
    if measures is not None:
        lines.append(f"The error is {skill(measures):.2f} times that of standing still.")
    if len(found.frames) < FEW:
        lines.append(f"Fewer than {FEW} frames tell little: take what follows as a hint.")
    lines += [" ".join([NOT_JUDGED, *undecided(setting, measures)]), ""]
    lines += [f"WARNING {verdict.kind}: {verdict.text}" for verdict in verdicts] or [
        "OK: nothing looks wrong."
    ]
    return "\n".join(lines)


def as_json(
    setting: Setting,
    found: Replayed,
    measures: Measures | None,
    fitted: Sequence[Fitted],
    verdicts: Sequence[Verdict],
) -> dict[str, Any]:
    """Plain lists and numbers; None for what could not be computed."""
    return {
        "verdict": "warning" if verdicts else "ok",
        "warnings": [vars(verdict) for verdict in verdicts],
        "names": setting.names,
        "grippers": setting.grippers,
        "undecided": undecided(setting, measures),
        "frames": _plain(found.frames),
        "holds": found.holds,
        "milliseconds": 1000 * found.seconds,
        "skill": None if measures is None else skill(measures),
        "measures": None if measures is None else {name: _plain(x) for name, x in vars(measures).items()},
        "fitted": {
            each.feature: {n: _plain(x) for n, x in vars(each).items() if n != "feature"} for each in fitted
        },
    }


def _predictions(setting: Setting, m: Measures) -> list[str]:
    head = (
        *("action", "error", "of its range", "first step", "standing still", "recorded", "predicted"),
        *("outside", "fit", "of motion", "times as large"),
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for i, name in enumerate(setting.names):
        cells = [
            f"{name} (gripper)" if i in setting.grippers and "gripper" not in name else name,
            _short(m.error[i]),
            _percent(m.share[i]),
            _short(m.error_first[i]),
            _short(m.still[i]),
            f"{_short(m.low[i])} to {_short(m.high[i])}",
            f"{_short(m.predicted_low[i])} to {_short(m.predicted_high[i])}",
            _percent(m.outside[i]),
            _signed(m.fit[i]),
            _signed(m.motion_fit[i]),
            _short(m.motion_slope[i] / m.motion_fit[i]) if m.motion_fit[i] > 0 else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _statistics(setting: Setting, found: Fitted) -> list[str]:
    what = "state" if found.feature == "state" else "actions, as the policy has them"
    lines = [f"| {what} | checkpoint q01 to q99 | data | times as wide |", "|---|---|---|---|"]
    same = len(setting.names) == len(found.ratio)
    for i, (mine, theirs) in enumerate(zip(found.checkpoint, found.data, strict=True)):
        ends = [f"{_short(low)} to {_short(high)}" for low, high in (mine, theirs)]
        name = setting.names[i] if same else str(i)
        lines.append(f"| {name} | {ends[0]} | {ends[1]} | {_short(found.ratio[i])} |")
    return lines


def _plain(values: Any) -> Any:
    array = np.asarray(values)
    if array.dtype.kind == "f":
        plain = array.astype(object)
        plain[~np.isfinite(array)] = None
        return plain.tolist()
    return array.tolist()


def _short(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3g}"


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1%}"


def _signed(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f}"
