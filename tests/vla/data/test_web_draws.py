"""What a turn of a picture points at."""

import numpy as np
import pytest

from vla.data.web.sample import Box, Turn
from vla.data.web_draws import placed, points_of

LEFT, RIGHT = Box(0.1, 0.2, 0.3, 0.6), Box(0.5, 0.5, 0.9, 0.7)


@pytest.mark.parametrize(
    ("turn", "seen"),
    [
        (Turn("what color is the star", "red", (LEFT,)), [1, 0]),
        (Turn("where is the star", "{box}", (LEFT,)), [1, 0]),
        (Turn("where is the star left of the cup", "{box}", (LEFT, RIGHT)), [1, 1]),
        # Two stars are counted: neither of them is the one that is meant.
        (Turn("how many stars are there", "two", (LEFT, RIGHT)), [0, 0]),
        (Turn("say what you see", "a star and a cup", (LEFT, RIGHT)), [0, 0]),
        (Turn("is there a bus", "no"), [0, 0]),
    ],
)
def test_only_what_is_meant_is_pointed_at(turn: Turn, seen: list[int]) -> None:
    points = points_of((placed(turn, 64),))
    assert points[:, 2].tolist() == seen
    if seen[0]:
        np.testing.assert_allclose(points[0, :2], [0.2, 0.4], rtol=1e-6)
    assert not points_of((turn, turn)).any()  # packed: several things are meant
