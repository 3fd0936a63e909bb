"""How sure a share is that was counted."""

import math

__all__ = ["wilson"]

Z_95 = 1.959963984540054


def wilson(successes: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a success rate, 95% unless told; (0, 1) when nothing was tried.

    centre = (p + z^2/2n) / (1 + z^2/n), half width = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n)

    successes: also with fractions, of trials that were successes in part: then it is wider than need be, as a
    mean of numbers in 0..1 varies most where all of them are 0 or 1.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    rate, unit = successes / trials, z * z / trials
    centre = rate + unit / 2
    half = z * math.sqrt(rate * (1 - rate) / trials + unit / (4 * trials))
    low, high = (centre - half) / (1 + unit), (centre + half) / (1 + unit)
    # At the ends the formula gives exactly 0 or 1, but for rounding.
    return (0.0 if successes == 0 else max(0.0, low)), (1.0 if successes == trials else min(1.0, high))
