"""Places in texts: each ``{box}`` in a turn's answer stands for one of its boxes, in order.

Data does not know how finely a model tells places. So records keep boxes as numbers, and a batch puts the
model's location words where ``{box}`` stands.
"""

from collections.abc import Sequence

from vla.data.web.damage import Fault
from vla.data.web.sample import Box

__all__ = ["BOX", "box_of"]

BOX = "{box}"
SLACK = 0.01
"""Labels end a pixel beyond the picture now and then."""


def box_of(edges: Sequence[float], width: float = 1.0, height: float = 1.0) -> Box:
    """left, top, right, bottom, in units of which the picture has width x height. Raises Fault."""
    try:
        left, top, right, bottom = (float(edge) for edge in edges)
        scaled = left / width, top / height, right / width, bottom / height
    except (TypeError, ValueError, ZeroDivisionError):
        raise Fault("wrong box", f"four numbers and a picture's size are needed, not {edges!r:.80}") from None
    inside = [min(1.0, max(0.0, edge)) for edge in scaled]
    # not `>`: NaN is to fail
    if not all(abs(edge - near) <= SLACK for edge, near in zip(scaled, inside, strict=True)):
        raise Fault("wrong box", f"{[round(edge, 3) for edge in scaled]} leaves the picture, which is 0..1")
    if not (inside[0] < inside[2] and inside[1] < inside[3]):
        raise Fault("wrong box", f"{[round(edge, 3) for edge in scaled]}: its edges are in no order")
    return Box(*inside)
