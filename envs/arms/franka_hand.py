"""The Franka hand as a joint: a thread starts a whole movement to the newest goal, one after the other.

A movement that has begun is let end, at most 0.8 s: where it is stopped, franky-sim never answers it, and the
driver then waits for good. It stops by itself at whatever it meets.
"""

import threading
from typing import Any

from envs.arms.vendor import one_line
from vla.arm import Joint

__all__ = ["Hand"]

SPEED = 0.1
"""Metres a second, of the width; the maker's own."""

NEAR = 0.001
"""Metres: a goal that is nearer than this to the last one starts no movement."""


class Hand:
    """width: metres, as last heard. goal: where to go, metres; None: nowhere. trouble: what is wrong.

    gripper: `franky.Gripper`, connected. force: newtons; it closes by the hand's own grasp, which goes on
    pressing what it meets.
    """

    def __init__(self, gripper: Any, force: float) -> None:
        self._gripper, self._force = gripper, force
        self.width = float(gripper.width)
        self.joint = Joint("gripper", "m", 0.0, float(gripper.max_width), SPEED, 1.0, 20.0, gripper=True)
        self.goal: float | None = None
        self.trouble = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hand", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        moving: Any = None
        sent: float | None = None
        while not self._over.wait(0.02):
            try:
                self.width = float(self._gripper.width)
                goal = self.goal
                if moving is not None and not moving.wait(0.0):
                    continue
                moving = None
                if goal is None:
                    sent = None
                elif sent is None or abs(goal - sent) > NEAR:
                    moving, sent = self._start(goal), goal
                self.trouble = ""
            except Exception as error:
                self.trouble, moving, sent = one_line(error), None, None

    def _start(self, goal: float) -> Any:
        if goal >= self.width - NEAR:
            return self._gripper.move_async(goal, SPEED)
        whole = self.joint.upper
        return self._gripper.grasp_async(goal, SPEED, self._force, whole, whole)

    def close(self) -> None:
        """Let the thread end; the hand stays as it is."""
        self._over.set()
        self._thread.join(3)
