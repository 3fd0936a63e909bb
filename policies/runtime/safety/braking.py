"""How a joint brakes: the rule, one step at a time, and where it comes to rest, in closed form.

Everything here is in *tick units*: with dt = 1/hz, and p_k the command of tick k, ``v`` is p_k - p_{k-1} (the
speed times dt), ``a`` its difference (the acceleration times dt^2), and the limits on a and on the difference
of a are ``top`` (acceleration limit times dt^2) and ``q`` (jerk limit times dt^3). One tick is

    a' = a + j,   v' = v + a',   p' = p + v',        |j| <= q,   |a'| <= top.

There is no continuous motion behind it that would be sampled: these are the differences of what is sent.

**Ramping out.** From a = m q + r (m whole, 0 <= r < q) a can go to zero as a - q, ..., q + r, r, 0, and v
then changes by ``ramped(a)`` = q m (m - 1) / 2 + r m; with the tick of a itself by T(a) = a + ramped(a). Both
grow continuously with a, piecewise linearly, so T has an inverse in closed form, ``steepest``.

**The rule** (`brake`): decelerate by steepest(|v|), but by no more than `top`, and change a by no more than
q. steepest(|v|) is the strongest deceleration after which a can still be ramped out before v has changed its
sign. Once reached, ramping out by q a tick is what the rule then gives at each tick, and it ends exactly at
v = 0, a = 0: a stop in finitely many ticks, without approximation by small steps.

**No other stop is shorter.** Let x follow the rule from v > 0 with v - ramped(-a) >= 0, and y be any other
way to brake that keeps the limits and never changes v's sign. Then v_x <= v_y at every tick. For suppose that
it first fails at tick k. If the rule is bound by q at k, it has lowered a by q at every tick so far, and
nobody has a lower a; if bound by `top`, the same; else v_x' = v_x - steepest(v_x), which grows with v_x (as T
has slope >= 1), and y may not go below v_y - steepest(v_y) >= v_x - steepest(v_x). So every way that keeps
the limits gives an upper bound on the rule's stopping distance: rounding in `stop` that delays a phase is on
the safe side.

**Peak of the speed.** Whatever the rule does, v never passes v + ramped(a) where a > 0 (the rule ramps a down
then, or v < 0 and a is what takes it to 0). So v + ramped(a) <= limit is necessary and sufficient for a stop
within the speed limit.

**Where it stops** (`stop`). Mirror the joint so that v + ramped(a) >= 0. The rule lowers a by q for ``ramp``
ticks, as long as ramped(-a) <= v and -a <= top; both conditions are quadratic in the number of ticks, which
gives that number. One tick reaches the deceleration `peak` = min(steepest, top); then `hold` ticks at that;
then a is ramped out. Positions are sums of these, polynomials of third degree in the number of ticks.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import floor, maximum, minimum, sqrt

__all__ = ["Stop", "along", "brake", "ramped", "steepest", "stop"]

Array = npt.NDArray[np.float64]


def ramped(a: Array, q: Array) -> Array:
    """By how much v changes while a >= 0 is ramped out, after the tick of `a` itself."""
    return _ramped(a, q, 0.5 * q)


def _ramped(a: Array, q: Array, half: Array) -> Array:
    """half: 0.5 q. What depends on q alone is computed once in a stop: it is of many small arrays, and takes
    as long as they are many."""
    m = floor(a / q)
    return m * (a - half * (m + 1.0))


def steepest(v: Array, q: Array) -> Array:
    """The deceleration >= 0 from which, with its own tick, ramping out takes v >= 0 to zero: T's inverse."""
    m, r = _ramp_out(v, 0.5 * q, 8.0 / q)
    return m * q + r


def _ramp_out(v: Array, half: Array, eight: Array) -> tuple[Array, Array]:
    """The m and r of the deceleration m q + r that takes v >= 0 to zero. half, eight: 0.5 q and 8 / q."""
    m = floor(0.5 * (sqrt(eight * v + 1.0) - 1.0))
    return m, v / (m + 1.0) - half * m


def brake(v: Array, a: Array, q: Array, top: Array) -> Array:
    """The rule: a' of the next tick."""
    target = np.copysign(np.minimum(steepest(np.abs(v), q), top), -v)
    return np.minimum(np.maximum(target, a - q), a + q)


class Stop(NamedTuple):
    """How the rule stops from (v, a). Fields have the joints' shape; displacements are from the present p.

    end: where it comes to rest. up, down: the furthest it goes either way, both >= 0 (where v and its end
    have different signs, an upper bound of the first, shorter part). The others are of the phases: `sign`
    mirrors the joint; see the module.
    """

    end: Array
    up: Array
    down: Array
    sign: Array
    v: Array
    a: Array
    ramp: Array
    after: Array
    peak: Array
    hold: Array
    m: Array
    r: Array

    @property
    def ticks(self) -> Array:
        """An upper bound of how many ticks it takes."""
        return self.ramp + self.hold + self.m + 2.0


def stop(v: Array, a: Array, q: Array, top: Array) -> Stop:
    """Where the rule comes to rest from (v, a). Arrays of any shapes that go together; |a| <= top."""
    if v.ndim > q.ndim:  # spread out at once: numpy takes twice as long where it has to repeat as it goes
        spread = np.empty((2, *v.shape))
        spread[0], spread[1] = q, top
        q, top = spread
    hq, eight = 0.5 * q, 8.0 / q
    sign = np.copysign(1.0, v + np.copysign(_ramped(np.abs(a), q, hq), a))
    v, a = sign * v, sign * a
    zero = floor(maximum(a, 0.0) / q)  # ticks until a < q
    low = zero * q - a  # the deceleration then, and the speed
    fast = v - zero * (low - hq * (zero - 1.0))
    more = sqrt(maximum(low * low + q * (fast - _ramped(low, q, hq)), 0.0))
    count = floor((minimum(more, top) - low) / q)
    ramp = zero + maximum(count, 0.0)
    first = ramp + 1.0
    half = 0.5 * ramp * first
    moved = ramp * v + half * (a - q * (ramp + 2.0) / 3.0)
    at = v + ramp * a - half * q
    m, r = _ramp_out(maximum(at, 0.0), hq, eight)
    peak = minimum(minimum(m * q + r, top), first * q - a)
    after = at - peak
    hold = np.ceil(maximum(after - peak - _ramped(peak, q, hq), 0.0) / maximum(peak, 1e-300))
    left = maximum(after - hold * peak, 0.0)
    m, r = _ramp_out(left, hq, eight)
    moved = moved + after + hold * (after - 0.5 * peak * (hold + 1.0)) + _out(m, r, q)
    back = maximum(-v, 0.0)  # a start against the direction of the end
    if back.any():
        back = _out(*_ramp_out(back, hq, eight), q)
    forth = maximum(moved, 0.0)
    positive = sign > 0
    return Stop(
        sign * moved,
        np.where(positive, forth, back),
        np.where(positive, back, forth),
        *(sign, v, a, ramp, after, peak, hold, m, r),
    )


def _out(m: Array, r: Array, q: Array) -> Array:
    """Displacement while a speed of T(m q + r) is ramped out by q a tick, from the tick of m q + r on."""
    return 0.5 * m * (m + 1.0) * (q * (m - 1.0) / 3.0 + r)


def along(how: Stop, q: Array, tick: Array | float) -> Array:
    """Displacement, `tick` ticks into the stop, of each joint."""
    t = np.minimum(tick, how.ramp)
    half = 0.5 * t * (t + 1.0)
    moved = t * how.v + half * (how.a - q * (t + 2.0) / 3.0)
    left = tick - how.ramp - 1.0
    moved = moved + np.where(left >= 0.0, how.after, 0.0)
    t = np.minimum(np.maximum(left, 0.0), how.hold)
    moved = moved + t * (how.after - 0.5 * how.peak * (t + 1.0))
    m = how.m - np.minimum(np.maximum(left - how.hold, 0.0), how.m + 1.0)
    return how.sign * (moved + _out(how.m, how.r, q) - _out(m, how.r, q))
