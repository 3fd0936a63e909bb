"""What a turn of a picture points at, and which records are drawn."""

from typing import Any

import numpy as np
import pytest

from vla.configuration.web import ShardsConfig
from vla.data.web.sample import Box, Turn, WebSample
from vla.data.web_draws import WebDraws, placed, points_of

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


class _Named:
    """A source of a hundred records."""

    first: tuple[int, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def __len__(self) -> int:
        return 100

    def __getitem__(self, number: int) -> WebSample:
        return WebSample((), self.turns(number))

    def turns(self, number: int) -> tuple[Turn, ...]:
        return (Turn(f"number {number}", "yes"),)

    def stands_in(self, number: int) -> int:
        return number

    def ahead(self, numbers: Any) -> None: ...


def test_sources_of_like_names_and_one_size_do_not_go_in_step() -> None:
    orders = []
    for name in ("coco_a", "coco_b"):
        source: Any = _Named(name)
        draws = WebDraws(source, source, ShardsConfig(path="x"), seed=3)
        orders.append([draws.draw(number).record for number in range(100)])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(100))
    assert sum(a == b for a, b in zip(*orders, strict=True)) < 20
