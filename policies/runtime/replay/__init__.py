"""Recorded frames through the deployed inference path: what a robot would be told, beside what it was."""

from policies.runtime.replay.checks import Setting, check_setting
from policies.runtime.replay.draw import Draw, draw_frames
from policies.runtime.replay.fitted import Fitted, compare_fitted
from policies.runtime.replay.measures import Measures, measure
from policies.runtime.replay.plot import replay_plot
from policies.runtime.replay.report import as_json, report
from policies.runtime.replay.run import Replayed, replay
from policies.runtime.replay.verdicts import Verdict, judge, judge_swap, skill

__all__ = [
    "Draw",
    "Fitted",
    "Measures",
    "Replayed",
    "Setting",
    "Verdict",
    "as_json",
    "check_setting",
    "compare_fitted",
    "draw_frames",
    "judge",
    "judge_swap",
    "measure",
    "replay",
    "replay_plot",
    "report",
    "skill",
]
