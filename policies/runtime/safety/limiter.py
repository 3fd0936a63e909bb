"""The limits of each joint by itself: what is sent keeps them, and can be followed by a stop that does.

*Invariant.* After every tick the joint, braked by the rule (`braking.brake`) from there, keeps all limits and
comes to rest. It holds at the start, at rest. Each tick sends either a command after which it is checked to
hold again, or the rule's own next step, after which it holds because the rest of a certified stop is one.

*Which command.* The commands that keep speed, acceleration and jerk are an interval, for the speed limit with
what is still to come while a is ramped out: so only speed = limit is approached, never passed. The wanted
command, if it is in there and a stop exists from it, passes bit for bit. Else the joint goes *after* it: the
next acceleration is the one from which the rule, taken in the frame that moves along with the wanted
commands, would come to rest exactly upon them (all that the limits allow while it is too far away). As the
rule stops in the least way possible, that is the fastest approach without passing the goal, and it ends on it
in finitely many ticks, without a limit cycle; moved by the nearest possible command alone a joint would swing
about its goal for ever.

The rule's own next step is always among the commands that are compared, so there always is one.

All arrays are ``[..., joints]``, so that a test can drive a million arms at once.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from policies.runtime.safety.braking import Stop, brake, steepest, stop
from policies.runtime.safety.roots import roots, slower
from vla.errors import BadInput

__all__ = ["Box", "Limiter", "Proposal"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

GRID = 17
"""Accelerations that are compared at once, over all that the limits allow."""

ROUNDING = 16 * np.finfo(np.float64).eps
"""Differences of three commands are only known to so much of a command's size; the limits kept inside are
smaller by that, so that those of what is sent are never broken, with no tolerance."""


_SHARES = np.linspace(0.0, 1.0, GRID)


class Box(NamedTuple):
    """Limits, one number a joint. speed, acceleration, jerk: a second, a second squared and cubed."""

    lower: Array
    upper: Array
    speed: Array
    acceleration: Array
    jerk: Array


class Proposal(NamedTuple):
    """What could be sent. command: keeps each joint's limits. change: its a', in tick units. same: where it
    is the wanted one, bit for bit. stop: how the rule stops from it."""

    command: Array
    change: Array
    same: Mask
    stop: Stop


class Limiter:
    """Commands within limits, for joints that are moved `hz` times a second.

    ramp_seconds, ramp_scale: see `Safety`; recovery_scale: of a joint that starts outside its limits.
    Raises BadInput for limits so small that differences of floating-point numbers cannot tell them.
    """

    def __init__(
        self,
        limits: Box,
        hz: float,
        *,
        ramp_seconds: float = 0.0,
        ramp_scale: float = 1.0,
        recovery_scale: float = 1.0,
    ) -> None:
        self.limits, self.hz = limits, hz
        self._lower, self._upper = limits.lower, limits.upper
        width = limits.upper - limits.lower
        fuzz = ROUNDING * (np.maximum(np.abs(limits.lower), np.abs(limits.upper)) + width)
        self._fuzz = fuzz
        exact = {"speed": limits.speed / hz, "acceleration": limits.acceleration / hz**2}
        exact["jerk"] = limits.jerk / hz**3
        for what, most in exact.items():
            if not (most > 1e2 * fuzz).all():
                least = (1e2 * fuzz * hz ** (1 + list(exact).index(what))).max()
                raise BadInput(
                    f"safety: a {what} limit of {getattr(limits, what).min():g} cannot be kept at {hz:g} Hz: "
                    f"at least {least:.2g} is needed, or fewer commands a second"
                )
        self._speed = exact["speed"] - 2 * fuzz
        self._top = exact["acceleration"] - 4 * fuzz
        self._q = exact["jerk"] - 8 * fuzz
        self._ramp_ticks, self._ramp_scale = ramp_seconds * hz, ramp_scale
        self._recovery = recovery_scale

    def start(self, position: Array) -> None:
        """At rest at `position`. Where that is outside the limits, they reach that far until it is inside."""
        self.p = np.array(position, np.float64)
        self.v, self.a = np.zeros_like(self.p), np.zeros_like(self.p)
        self._low, self._high = np.minimum(self._lower, self.p), np.maximum(self._upper, self.p)
        self._out = bool(self.outside.any())
        self._behind = np.zeros(self.p.shape, np.bool_)
        self._goals = [np.clip(self.p, self._lower, self._upper)] * 4
        self._tick = 0.0

    @property
    def outside(self) -> Mask:
        """Which joints are outside their limits, where they started."""
        return (self.p < self._lower) | (self.p > self._upper)

    @property
    def scale(self) -> float:
        """Share of speed, acceleration and jerk that is allowed so soon after the start."""
        if self._tick >= self._ramp_ticks:
            return 1.0
        return self._ramp_scale + (1.0 - self._ramp_scale) * self._tick / self._ramp_ticks

    @property
    def at_rest(self) -> Mask:
        """Which joints stand."""
        return (self.v == 0.0) & (self.a == 0.0)

    def braking(self) -> Array:
        """a' of the rule's next step, which keeps all limits, too."""
        return brake(self.v, self.a, self._q, self._top)

    def command(self, change: Array) -> Array:
        """The command with a' = `change`."""
        return np.minimum(np.maximum(self.p + (self.v + change), self._low), self._high)

    def stop_from(self, change: Array) -> Stop:
        """How the rule stops after the command with a' = `change`."""
        return stop(self.v + change, change, self._q, self._top)

    @property
    def q(self) -> Array:
        """The jerk limit in tick units, for `braking.along`."""
        return self._q

    def propose(self, wanted: Array) -> Proposal:
        """The command for `wanted`; where that is NaN the joint brakes. Once a tick: it remembers those."""
        p, v, a = self.p, self.v, self.a
        scale = self.scale
        q, top, speed = scale * self._q, scale * self._top, scale * self._speed
        rising = falling = speed
        if self._out:  # inwards slowly, outwards not at all
            speed = np.where(self.outside, self._recovery * speed, speed)
            rising, falling = np.where(p > self._upper, 0.0, speed), np.where(p < self._lower, 0.0, speed)
        up, down = steepest(np.maximum([rising - v, falling + v], 0.0), q)
        high = np.minimum(np.minimum(a + q, top), up)
        low = np.maximum(np.maximum(a - q, -top), -down)
        went = wanted - p
        change = went - v
        same = (change >= low) & (change <= high) & (wanted >= self._low) & (wanted <= self._high)
        self._goals = [np.minimum(np.maximum(wanted, self._lower), self._upper), *self._goals[:3]]
        drift = bend = None
        if self._behind.any():
            drift, bend = self._course(speed, top)
            ahead = drift + bend - went  # what a must be a tick later, to stay upon the wanted
            same &= ~self._behind | ((np.abs(ahead - change) <= q) & (np.abs(bend - ahead) <= q))
        some = bool(same.any())
        if some:
            how = self.stop_from(change if same.all() else np.where(same, change, 0.0))
            same &= self._stops(np.where(same, wanted, p), how)
            if same.all():
                return Proposal(np.array(wanted, np.float64), change, same, how)
        goes = (low <= high) & np.isfinite(wanted) & ~same
        if goes.any():
            if drift is None or bend is None:
                drift, bend = self._course(speed, top)
            after = self._after(drift, bend, (low, high), (q, top))
            if not goes.all():
                after = np.where(goes, after, self.braking())
        else:
            after = self.braking()
        change = np.where(same, change, after) if some else after
        how = self.stop_from(change)
        fine = same | self._stops(p + v + change, how)
        if not fine.all():
            change = np.where(fine, change, self.braking())
            how = self.stop_from(change)
        command = self.command(change)
        return Proposal(np.where(same, wanted, command) if some else command, change, same, how)

    def _course(self, speed: Array, top: Array) -> tuple[Array, Array]:
        """Speed and acceleration of what is wanted, as the last four of it agree: a jump pretends neither."""
        goals = self._goals
        first, second, third = goals[0] - goals[1], goals[1] - goals[2], goals[2] - goals[3]
        bend = slower(first - second, second - third)
        drift = np.where((bend != 0.0) & (first * second > 0.0), first, slower(first, second))
        most = 0.5 * top
        return (
            np.minimum(np.maximum(drift, -speed), speed),
            np.minimum(np.maximum(bend, -most), most),
        )

    def move(self, command: Array, change: Array, same: Mask) -> None:
        """`command` is sent, with a' = `change`: that of the last proposal, or between it and its braking.

        same: where it is what was wanted. Speed and acceleration are kept as they were meant, not taken from
        differences of the rounded positions, as a stop many ticks long would multiply their errors.
        """
        self._behind = ~same
        self.p, self.v, self.a = command, self.v + change, change
        self._tick += 1.0
        if self._out:  # never further out again
            self._low = np.minimum(self._lower, np.maximum(self._low, command))
            self._high = np.maximum(self._upper, np.minimum(self._high, command))
            self._out = bool(self.outside.any())

    def missed(self, ticks: int) -> None:
        """`ticks` ticks went by without a command: the arm stood on its last, so it is taken to have braked.

        Speed and acceleration are those of the rule so many ticks on, the place is the last command. A stop
        from there is the rest of the certified one, begun where that was then, so that it stays within the
        limits, too; but where a joint would have moved away from a limit first, it is taken to have stopped.
        """
        for _ in range(ticks):
            if self.at_rest.all():
                break
            self.a = brake(self.v, self.a, self._q, self._top)
            self.v = self.v + self.a
        moves = self._stops(self.p, stop(self.v, self.a, self._q, self._top))
        self.v, self.a = np.where(moves, self.v, 0.0), np.where(moves, self.a, 0.0)
        self._tick += ticks

    def _stops(self, command: Array, how: Stop) -> Mask:
        above, below = self._past(command, how.up, how.down)
        return (above <= self._fuzz) & (below <= self._fuzz)

    def _past(self, command: Array, up: Array, down: Array) -> tuple[Array, Array]:
        """How far a stop from `command` goes past either limit; of a joint outside it: past `command`."""
        return (
            command + up - np.maximum(self._upper, np.minimum(self._high, command)),
            np.minimum(self._lower, np.maximum(self._low, command)) - (command - down),
        )

    def _after(
        self, drift: Array, bend: Array, span: tuple[Array, Array], limits: tuple[Array, Array]
    ) -> Array:
        """The a', within `span`, that goes after the goal, which moves by `drift` a tick, and that by `bend`.

        limits: q and top that are allowed now.
        """
        (low, high), (q, top) = span, limits
        shape, goal = self.p.shape, self._goals[0]
        grid = low + _SHARES.reshape(-1, *[1] * len(shape)) * (high - low)
        v, a = np.empty((2, 2, GRID, *shape))
        v[0], a[0] = self.v + grid, grid
        p = self.p + v[0]
        if drift.any() or self.scale < 1.0:
            # Two frames at once: the world's, with the whole of the limits; the goal's, with those of now.
            v[1], a[1] = v[0] - drift, grid - bend
            if self.scale < 1.0:
                both = [np.stack([whole, part])[:, None] for whole, part in ((self._q, q), (self._top, top))]
            else:
                both = [self._q, self._top]
            how = stop(v, a, *both)
            up, down, end = how.up[0], how.down[0], how.end[1]
        else:
            how = stop(v[0], grid, self._q, self._top)
            up, down, end = how.up, how.down, how.end
        above, below = self._past(p, up, down)
        # Upon the goal; but where it could not stop before a limit, the last that can.
        values = np.empty((GRID, 3, *shape))
        values[:, 0], values[:, 1], values[:, 2] = p + end - goal, above, -below
        best, most, least = roots(values, grid)
        return np.asarray(np.maximum(np.minimum(best, most), least))
