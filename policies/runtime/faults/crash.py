"""``kill -9`` of a whole run, and what its log still knows.

The run is a process of its own. It mirrors every command into a file beside the log, a plain append that the
kernel keeps when the process is killed, so that what the log lost can be counted.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from policies.runtime.faults.bench import Make, put_together
from policies.runtime.faults.recorder import Command, moving_for
from policies.runtime.faults.trial import Case, Outcome, count_found, read_sent

__all__ = ["KILLED", "kill", "live"]

MIRROR = "commands.jsonl"
ALLOWED_S = 1.0
"""What a crash may cost."""

KILLED = Case("kill -9 of the run", "machine", lambda bench: None, "ends", within_s=0.1, endings=("killed",))


def live(make: Make, folder: Path) -> None:
    """The process that is going to be killed: run, and mirror every command."""
    with put_together(make, folder) as bench, open(folder / MIRROR, "ab", buffering=0) as mirror:

        def write(command: Command) -> None:
            told = {"time": command.time, "positions": command.positions.tolist()}
            mirror.write(json.dumps(told).encode() + b"\n")

        bench.recorder.mirror = write
        bench.loop.run()


def kill(start: Callable[[], "subprocess.Popen[bytes]"], folder: Path, after_s: float = 1.5) -> Outcome:
    """Start the run (a process that calls `live` with the same folder), kill it while it moves, and recover
    its log. after_s: how long it moves before that.
    """
    process = start()
    try:
        _until_moving(folder, process, after_s)
        killed = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait(20)
    commands = _mirrored(folder)
    last = commands[-1].time if commands else killed
    sent = [command.positions for command in commands]
    due = [command.positions for command in commands if command.time < last - ALLOWED_S]
    error = _recovered(folder)
    logged = [] if error else read_sent(folder / "run")
    found = count_found(sent, logged)
    return Outcome(
        KILLED.name,
        KILLED.group,
        "ends",
        max(last - killed, 0.0),
        "killed",
        "",
        f"{len(sent) - found} newest commands lost",
        (),
        len(due),
        count_found(due, logged),
        error,
    )


def _until_moving(folder: Path, process: "subprocess.Popen[bytes]", after_s: float) -> None:
    end, moving_since = time.monotonic() + 60.0, 0.0
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
        now = time.monotonic()
        if not moving_for(_mirrored(folder), now, 0.4):
            moving_since = 0.0
        elif not moving_since:
            moving_since = now
        elif now - moving_since > after_s:
            return


def _mirrored(folder: Path) -> Sequence[Command]:
    file = folder / MIRROR
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")[:-1]  # the last may be torn
    told = [json.loads(line) for line in lines]
    return [Command(each["time"], np.array(each["positions"])) for each in told]


def _recovered(folder: Path) -> str:
    """What is wrong with the log after its recovery; "" if nothing is."""
    from policies.runtime.log.runs import recover

    done = recover(folder)
    wrong = [why for _, why in done if why]
    return wrong[0] if wrong else "" if done else "there was no crashed run to recover"
