"""Shapes are sound solids, and drawn scenes are what the plain data says: seen, apart, unlike the table."""

import numpy as np
import pytest

from envs.gallery.backdrop import DULL
from envs.gallery.limits import Limits
from envs.gallery.picture import sight
from envs.gallery.sampling import sample_scene
from envs.gallery.scene import GalleryScene
from envs.gallery.shapes import SHAPES, plural, soup, vertices
from envs.gallery.studio import FLOOR, SKY, WALL, Studio
from envs.gallery.textures import SIDE, TEXTURES, picture


def scenes(count: int) -> list[GalleryScene]:
    return [sample_scene(np.random.default_rng(i), Limits()) for i in range(count)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_a_solid_in_the_unit_ball_with_normals_outwards(shape: str) -> None:
    solid = soup(shape)
    assert np.linalg.norm(vertices(shape), axis=1).max() == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(solid.normals, axis=2) == pytest.approx(1)
    a, b, c = np.moveaxis(solid.corners, 1, 0)
    # Every corner's normal agrees with the side from which its triangle runs anticlockwise.
    facing = np.einsum("ti,tci->tc", np.cross(b - a, c - a), solid.normals)
    assert facing.min() > -1e-6
    # Gauss: the triangles enclose a positive volume, so that they face outwards as a whole.
    assert np.einsum("ti,ti->", a, np.cross(b, c)) > 0


def test_nouns_name_one_shape() -> None:
    nouns = [noun for shape in SHAPES.values() for noun in shape.nouns]
    assert len(set(nouns)) == len(nouns)
    assert len({*nouns, *map(plural, nouns)}) >= 2 * len(nouns) - 1  # one fish, two fish


def test_textures_fill_their_tile() -> None:
    for name in TEXTURES:
        assert picture(name).shape == (SIDE, SIDE, 3)
        assert picture(name).std() > 1


def test_things_stand_on_the_floor_or_on_each_other() -> None:
    for scene in scenes(60):
        for item in scene.items:
            lowest = float(item.points[:, 2].min())
            if item.on is not None:
                assert lowest == pytest.approx(float(scene.items[item.on].points[:, 2].max()))
            elif scene.standing:
                assert lowest == pytest.approx(0, abs=1e-6)
            elif scene.floor is not None:
                assert lowest > 0


def test_no_plain_floor_is_like_the_robots_table() -> None:
    for scene in scenes(200):
        for surface in (scene.floor, scene.wall):
            if surface is not None and not surface.texture:
                assert surface.words not in DULL
                assert surface.words == "white" or np.ptp(surface.rgb) > 0.15


def test_a_scene_is_drawn_where_its_corners_are_projected() -> None:
    studio = Studio(96)
    for scene in scenes(30):
        _, shown = studio.draw(scene)
        assert set(np.unique(shown)) <= {*range(len(scene.items)), FLOOR, WALL, SKY}
        for number, item in enumerate(scene.items):
            rows, columns = np.nonzero(shown == number)
            if not len(rows):
                continue
            places, _ = scene.view.project(item.points)
            low, high = 96 * places.min(axis=0) - 1.5, 96 * places.max(axis=0) + 1.5
            assert low[0] <= columns.min() and columns.max() + 1 <= high[0]
            assert low[1] <= rows.min() and rows.max() + 1 <= high[1]
            if studio.alone(scene, number) == len(rows) and places.min() > 0 and places.max() < 1:
                assert columns.min() <= low[0] + 3.5
                assert rows.max() + 1 >= high[1] - 3.5
    studio.close()


def test_whatever_is_left_in_a_picture_shows_enough_of_itself() -> None:
    studio = Studio(96)
    for index in range(40):
        seen = sight(2, index)
        for thing in seen.things:
            area = np.count_nonzero(seen.shown == thing.number)
            assert area >= 25
            assert area >= 0.65 * studio.alone(seen.scene, thing.number)
        assert {int(n) for n in np.unique(seen.shown)} - {FLOOR, WALL, SKY} == {t.number for t in seen.things}
    studio.close()


def test_sizes_and_numbers_vary() -> None:
    seen = [sight(6, index) for index in range(100)]
    assert {len(s.things) for s in seen} == set(range(1, 8))
    widths = [t.box[2] - t.box[0] for s in seen for t in s.things]
    assert min(widths) < 0.1
    assert max(widths) > 0.6
