"""Where joints are against where they were sent: a blocked gripper, a joint that does not follow."""

import numpy as np
import numpy.typing as npt

__all__ = ["Following", "Gripper"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Following:
    """Joints that are further from their command than `limits` (one number a joint; inf: none).

    A joint that was is let go on only when it is back within `RELEASE` of its limit.
    """

    RELEASE = 0.8

    def __init__(self, limits: Array) -> None:
        self.limits = limits
        self.start()

    def start(self) -> None:
        """Forget what was."""
        self._lagging = np.zeros(self.limits.shape, np.bool_)

    def lagging(self, command: Array, measured: Array) -> Mask:
        """Which joints lag, once a tick."""
        error = np.abs(measured - command)
        self._lagging = error > np.where(self._lagging, self.RELEASE * self.limits, self.limits)
        return self._lagging


class Gripper:
    """Keeps the command of a blocked gripper from going further than `ahead` of where it is measured.

    A servo presses as hard as its command is ahead, so this bounds its force, and its heat. Blocked is a
    gripper that moves slower than `MOVING` of its range a second, averaged over `SECONDS`; one that moves may
    lag more. ahead, span: in its unit.
    """

    MOVING, SECONDS = 0.05, 0.1

    def __init__(self, ahead: float, span: float, hz: float) -> None:
        self.ahead, self._span, self._hz = ahead, span, hz
        self._share = min(1.0, 1.0 / (self.SECONDS * hz))
        self.start()

    def start(self) -> None:
        """Forget what was."""
        self._last: float | None = None
        self._speed = 0.0

    def see(self, measured: float, ticks: int) -> None:
        """Where it is, once a tick; `ticks` after the tick before."""
        if self._last is not None:
            speed = (measured - self._last) * self._hz / ticks
            self._speed += min(1.0, self._share * ticks) * (speed - self._speed)
        self._last = measured

    def allowed(self, wanted: float) -> float:
        """`wanted`, or as near to it as a blocked gripper may be sent."""
        if self._last is None or abs(self._speed) > self.MOVING * self._span:
            return wanted
        return min(max(wanted, self._last - self.ahead), self._last + self.ahead)
