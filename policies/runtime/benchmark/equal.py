"""Networks of an equal number of parameters: the width and the width of the MLP that make it so."""

from collections.abc import Callable

from vla.errors import BadInput

__all__ = ["TOLERANCE", "matched"]

TOLERANCE = 0.01
"""By how much the parameters of contenders of equal size may differ."""
LARGEST = 64
"""Steps of width that are tried at most."""


def matched(
    count: Callable[[int, int], int], size: int, *, step: int, expansion: float, what: str
) -> tuple[int, int]:
    """Width and MLP width for `size` parameters. count: (width, mlp) -> parameters, linear in mlp, growing
    with both. step: what the width must be a multiple of; an even MLP is given. expansion: the published
    MLP over width, which is met as nearly as the steps allow; what is left over goes into the MLP.

    Raises BadInput where `size` cannot be met within TOLERANCE.
    """

    too_small = BadInput(
        f"size={size}: {what} needs at least {count(step, 2)} parameters here; ask for more than that"
    )
    if size < count(step, 2):
        raise too_small

    def fitting(width: int) -> int:
        """The MLP that brings a width to `size`."""
        low, high = count(width, 16), count(width, 32)
        return 16 + 2 * round((size - low) * 8 / (high - low))

    low, high = 1, LARGEST  # in steps: the widest whose MLP is not narrower than published
    while low < high:
        middle = (low + high + 1) // 2
        if fitting(middle * step) >= expansion * middle * step:
            low = middle
        else:
            high = middle - 1
    width = low * step
    mlp = fitting(width)
    if mlp < 2 or abs(count(width, mlp) / size - 1) > TOLERANCE:
        raise too_small
    return width, mlp
