"""Small drawings for the page, as inline SVG: sharp at any size and a few kilobytes each."""

import numpy as np
import numpy.typing as npt

__all__ = ["ACTION_COLORS", "action_plot", "interval_bar"]

ACTION_COLORS = ("#2f6fed", "#e8710a", "#1f9d61", "#b13fc9", "#14a3b8", "#d6455d")
"""One a joint, distinguishable without full colour vision as well."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 520.0, 132.0, 30.0, 18.0


def action_plot(actions: npt.NDArray[np.float32], states: npt.NDArray[np.float32], hz: int = 20) -> str:
    """Joint targets ``[steps, joints]`` over seconds (solid) and where the joints were (faint)."""
    if len(actions) == 0:
        return ""
    low = float(min(actions.min(), states.min() if len(states) else 0.0, -50.0))
    high = float(max(actions.max(), states.max() if len(states) else 0.0, 100.0))
    seconds = max(len(actions) - 1, 1) / hz

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 4) * step / max(len(actions) - 1, 1)

    def y(value: float) -> float:
        return 6 + (_HEIGHT - _BOTTOM - 10) * (high - value) / (high - low)

    def line(values: npt.NDArray[np.float32], color: str, style: str) -> str:
        points = " ".join(f"{x(i):.1f},{y(float(v)):.1f}" for i, v in enumerate(values))
        return f"<polyline fill='none' stroke='{color}' {style} points='{points}'/>"

    grid = "".join(
        f"<line x1='{_LEFT}' x2='{_WIDTH - 4}' y1='{y(v):.1f}' y2='{y(v):.1f}' stroke='#e9edf1'/>"
        f"<text x='{_LEFT - 5}' y='{y(v) + 3.5:.1f}' text-anchor='end'>{v}</text>"
        for v in range(-100, 101, 50)
        if low <= v <= high
    )
    every = max(1, round(seconds / 6))
    ticks = "".join(
        f"<text x='{x(t * hz):.1f}' y='{_HEIGHT - 3}' text-anchor='middle'>{t} s</text>"
        for t in range(0, int(seconds) + 1, every)
    )
    faint = "stroke-width='1' stroke-opacity='.35'"
    solid = "stroke-width='1.6' stroke-linejoin='round'"
    curves = "".join(line(v, c, faint) for v, c in zip(states.T, ACTION_COLORS, strict=False))
    curves += "".join(line(v, c, solid) for v, c in zip(actions.T, ACTION_COLORS, strict=False))
    return (
        f"<svg viewBox='0 0 {_WIDTH:.0f} {_HEIGHT:.0f}' role='img' aria-label='joint targets over time' "
        f"font-size='10' fill='#66727f' font-family='inherit'>{grid}{ticks}{curves}</svg>"
    )


def interval_bar(rate: float | None, interval: tuple[float, float] | list[float]) -> str:
    """A rate in 0..1 as a bar, its interval as a whisker."""
    low, high = (100 * bound for bound in interval)
    value = 100 * (rate or 0.0)
    return (
        "<svg viewBox='0 0 100 10' preserveAspectRatio='none' height='16' role='img' aria-label='rate'>"
        "<rect width='100' height='10' rx='1' fill='#eef1f4'/>"
        f"<rect width='{value:.2f}' height='10' rx='1' fill='#8fd0ae'/>"
        f"<rect x='{low:.2f}' y='4.2' width='{max(high - low, 0.4):.2f}' height='1.6' fill='#1d2733'/>"
        f"<rect x='{low:.2f}' y='2' width='.5' height='6' fill='#1d2733'/>"
        f"<rect x='{max(high - 0.5, 0):.2f}' y='2' width='.5' height='6' fill='#1d2733'/></svg>"
    )
