"""Tiles and a thumbnail of a large picture."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vla.encoders.image import resize, resize_to
from vla.encoders.tiles import TilePlaces, choose_grid, cut

SIZE = 8
sides, budgets = st.integers(1, 60), st.integers(1, 7)


def fitted(height: int, width: int, rows: int, columns: int) -> float:
    """Pixels of the picture that are kept when it is fitted into the grid with its aspect."""
    scale = min(1.0, rows * SIZE / height, columns * SIZE / width)
    return height * width * scale**2


@given(sides, sides, budgets)
def test_no_other_grid_keeps_more_or_wastes_less(height: int, width: int, most: int) -> None:
    rows, columns = choose_grid(height, width, SIZE, most)
    assert rows >= 1 and columns >= 1 and rows * columns <= most
    mine = fitted(height, width, rows, columns)
    for r in range(1, most + 1):
        for c in range(1, most // r + 1):
            other = fitted(height, width, r, c)
            assert other <= mine + 1e-6
            if other > mine - 1e-9:
                assert r * c >= rows * columns


@given(sides, sides, budgets)
def test_a_turned_picture_gets_the_turned_grid(height: int, width: int, most: int) -> None:
    if height != width:
        assert choose_grid(width, height, SIZE, most) == choose_grid(height, width, SIZE, most)[::-1]


@pytest.mark.parametrize(
    ("height", "width", "most", "grid"),
    [
        (8, 8, 6, (1, 1)),
        (5, 7, 6, (1, 1)),
        (16, 16, 6, (2, 2)),
        (16, 24, 6, (2, 3)),
        (8, 40, 4, (1, 4)),
        (40, 8, 4, (4, 1)),
        (640, 640, 5, (2, 2)),
        (480, 640, 1, (1, 1)),
    ],
)
def test_grids_worth_knowing(height: int, width: int, most: int, grid: tuple[int, int]) -> None:
    assert choose_grid(height, width, SIZE, most) == grid


@given(st.integers(1, 4), st.integers(1, 4))
def test_every_pixel_is_in_exactly_one_tile(rows: int, columns: int) -> None:
    """A picture that fills its grid: numbering its pixels, the tiles hold each number once."""
    height, width = rows * SIZE, columns * SIZE
    number = np.arange(height * width).reshape(height, width)
    picture = np.stack([number // 65536, number // 256 % 256, number % 256], -1).astype(np.uint8)
    views, mask, grid = cut(picture, SIZE, 16)
    if (rows, columns) == (1, 1):
        assert mask.sum() == 1 and grid == (1, 1)
        tiles = views[:1]
    else:
        assert grid == (rows, columns)
        tiles = views[1:][mask[1:]]
    weights = torch.tensor([65536, 256, 1])
    found = (tiles.long() * weights).sum(-1)
    assert sorted(found.flatten().tolist()) == list(range(height * width))
    back = tiles.reshape(rows, columns, SIZE, SIZE, 3).transpose(1, 2).reshape(height, width, 3)
    assert np.array_equal(back.numpy(), picture)


@given(sides, sides, budgets)
def test_views_masks_and_thumbnail(height: int, width: int, most: int) -> None:
    picture = torch.randint(1, 256, (height, width, 3), dtype=torch.uint8)
    views, mask, (rows, columns) = cut(picture, SIZE, most)
    assert views.shape == (1 + most, SIZE, SIZE, 3) and views.dtype == torch.uint8
    count = rows * columns if rows * columns > 1 else 0
    assert mask.tolist() == [True] * (1 + count) + [False] * (most - count)
    assert torch.equal(views[:1], resize(picture[None], SIZE))
    assert (views[~mask] == 0).all()
    if max(height, width) <= SIZE:
        assert count == 0
    if count:
        whole = resize_to(picture[None], rows * SIZE, columns * SIZE)[0]
        second = whole[:SIZE, SIZE : 2 * SIZE] if columns > 1 else whole[SIZE : 2 * SIZE, :SIZE]
        assert torch.equal(views[2], second)


def test_places_are_added_by_row_and_column() -> None:
    places = TilePlaces(channels=5, max_tiles=6)
    tokens = torch.randn(3, 7, 2, 5)
    out = places(tokens, torch.tensor([[2, 3], [3, 2], [1, 1]])) - tokens
    assert out.shape == tokens.shape
    torch.testing.assert_close(out[:, 0], places.thumbnail.expand(3, 2, 5))
    for sample, columns in ((0, 3), (1, 2)):
        for tile in range(6):
            wanted = places.rows[tile // columns] + places.columns[tile % columns]
            torch.testing.assert_close(out[sample, 1 + tile], wanted.expand(2, 5))


def test_every_place_is_told_apart() -> None:
    places = TilePlaces(channels=8, max_tiles=6)
    out = places(torch.zeros(1, 7, 1, 8), torch.tensor([[2, 3]]))[0, :, 0]
    assert (torch.cdist(out, out) + torch.eye(7)).min() > 1e-3
