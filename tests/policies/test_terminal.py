"""What a run shows: rewritten lines in a terminal, plain ones elsewhere, and nothing said twice."""

import io
import re

import numpy as np

from policies.runtime.control.clock import Periods
from policies.runtime.control.results import Ending, RunResult, Status
from policies.runtime.control.spread import Summary
from policies.runtime.safety.config import Safety
from policies.runtime.terminal import Terminal, announcement, result_table
from vla.arm import ArmSpec, Joint

PERIODS = Periods(Summary(100, 0.05, 0.001, 0.05, 0.051, 0.06), Summary(), late=2, missed=3)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def status(seconds: float, recent: tuple[str, ...] = (), **more: object) -> Status:
    latency = Summary(5, 0.02, 0.001, 0.02, 0.031, 0.04)
    told = {"hold": "", "holds": {}, "interventions": {"speed": 4}, "stop": ""} | more
    return Status(
        *("running", seconds, 10, 5, 19.97, PERIODS, latency, Summary()),
        rows_left=7,
        recent=recent,
        **told,  # type: ignore[arg-type]
    )


def test_in_a_terminal_two_lines_are_rewritten() -> None:
    out = Screen()
    terminal = Terminal(out)
    for second in range(4):
        terminal(status(second, hold="camera 'front' gives no picture"))
    shown = draw(out.getvalue())
    assert len(shown) == 2
    assert "20.0 Hz" in shown[0] and "3 missed" in shown[0] and "20 ms" in shown[0] and "3.0 s" in shown[0]
    assert "4 speed" in shown[1] and "camera 'front'" in shown[1]


def test_events_stay_above_and_come_once() -> None:
    out = Screen()
    terminal = Terminal(out)
    for recent in ((), ("a",), ("a", "b"), ("a", "b"), ("b", "c")):
        terminal(status(1, recent))
    assert draw(out.getvalue())[:3] == ["a", "b", "c"]


def test_elsewhere_lines_are_few_and_plain() -> None:
    out, now = io.StringIO(), [0.0]
    terminal = Terminal(out, every_s=5.0, clock=lambda: now[0])
    for _ in range(100):
        now[0] += 0.15
        terminal(status(now[0], ("a",)))
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert lines.count("a") == 1 and sum("Hz" in line for line in lines) == 2


def test_a_dry_run_shows_what_would_be_sent() -> None:
    out = io.StringIO()
    newest = np.array([1.0, 2.0]), None, np.array([1.5, 2.0])
    Terminal(out, newest=lambda: newest, names=("pan", "lift"))(status(1))
    assert "would send: pan 1.5 (at 1.0), lift 2.0 (at 2.0)  [hold]" in out.getvalue()


def test_before_and_after() -> None:
    spec = ArmSpec("so101_follower", (Joint("pan", "deg", -110, 110, 270, 6000, 1e5),), 50, ("front",))
    text = announcement(spec, Safety(speed_scale=0.5), np.array([12.34]))
    for part in ("pan", "12.3 deg", "-110.0", "110.0", "135 deg/s", "6000 deg/s²", "cameras: front"):
        assert part in text
    ending = Ending("emergency", "emergency stop: key q")
    result = RunResult(ending, 100, 50, 5.0, 20, 20, PERIODS, holds={"plan": 4}, notes=("a note",))
    table = result_table(result, {"log": "outputs/runs/1"})
    for part in (
        "emergency: emergency stop: key q",
        "2 late, 3 missed",
        "4 plan",
        "a note",
        "outputs/runs/1",
    ):
        assert part in table


def draw(text: str) -> list[str]:
    """What a terminal shows of it: only the codes that are used."""
    lines, row = [""], 0
    for code, count, letters in re.findall(r"\x1b\[(?:(2K|J)|(\d+)A)|([^\x1b]+)", text):
        if code == "2K":
            lines[row] = ""
        elif code == "J":
            lines[row:] = [""]
        row -= int(count or 0)
        for letter in letters.replace("\r", ""):
            if letter == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            else:
                lines[row] += letter
    return [line for line in lines if line]
