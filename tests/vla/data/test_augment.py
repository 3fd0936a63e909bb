import hashlib

import numpy as np
import pytest
import torch

from vla.configuration import AugmentConfig
from vla.data.augment import augment
from vla.data.draws import Draws

QUIET = AugmentConfig(shift=0, brightness=0, contrast=0, color=0, state_noise=0)


def draws(rows: int, seed: int) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), rows)


def batch() -> dict:
    g = torch.Generator().manual_seed(3)
    return {
        "images": {n: torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8, generator=g) for n in "ab"},
        "state": torch.rand(8, 6, generator=g),
        "points": torch.rand(8, 4, 3, generator=g).round(),
    }


def test_seeded_and_leaves_its_input_alone() -> None:
    given, kept = batch(), batch()
    one, two, three = (augment(given, draws(8, s)) for s in (0, 0, 1))
    for name in "ab":
        assert torch.equal(one["images"][name], two["images"][name])
        assert not torch.equal(one["images"][name], three["images"][name])
        assert torch.equal(given["images"][name], kept["images"][name])
        assert one["images"][name].dtype == torch.float32
        assert one["images"][name].min() >= 0 and one["images"][name].max() <= 1
    assert torch.equal(given["points"], kept["points"])
    assert torch.equal(given["state"], kept["state"])


def test_no_noise_is_identity() -> None:
    given, out = batch(), augment(batch(), draws(8, 0), QUIET)
    torch.testing.assert_close(out["images"]["a"], given["images"]["a"] / 255.0)
    assert torch.equal(out["points"], given["points"])
    assert torch.equal(out["state"], given["state"])


def test_points_move_with_the_picture() -> None:
    """A single bright pixel is found where its label says, before and after."""
    count, side = 32, 24
    rng = np.random.default_rng(0)
    images = {name: torch.zeros(count, side, side, 3, dtype=torch.uint8) for name in ("front", "wrist")}
    points = torch.zeros(count, 4, 3)
    for c, name in enumerate(images):
        for i in range(count):
            x, y = rng.integers(0, side, 2)
            images[name][i, y, x] = 255
            points[i, 2 * c] = torch.tensor([(x + 0.5) / side, (y + 0.5) / side, 1.0])
    given = {"images": images, "state": torch.zeros(count, 6), "points": points}
    out = augment(given, draws(count, 0), AugmentConfig(4, 0, 0, 0, 0))
    moved = 0
    for c, name in enumerate(images):
        for i in range(count):
            x, y, seen = out["points"][i, 2 * c].tolist()
            moved += (out["points"][i, 2 * c] != points[i, 2 * c]).any().item()
            if seen:
                assert out["images"][name][i, int(y * side), int(x * side)].min() == 1.0
            else:
                assert not (0 <= x <= 1 and 0 <= y <= 1)
    assert moved > count
    assert (out["points"][:, 1, 2] == 0).all()


def digest(out: dict) -> str:
    """Of pictures, state and points; rounded, so that another processor's last bit changes nothing."""
    found = hashlib.sha256()
    for tensor in (*out["images"].values(), out["state"], out["points"]):
        found.update((tensor * 1000).round().to(torch.int32).numpy().tobytes())
    return found.hexdigest()[:16]


def test_without_dropout_and_views_the_noise_is_what_it_always_was() -> None:
    """Recorded before either existed: recorded training curves rest on it."""
    noise = AugmentConfig(2, 0.1, 0.15, 0.05, 0.003)
    assert digest(augment(batch(), draws(8, 5), noise)) == "5303d4779c32d4d3"


def test_all_views_of_a_picture_are_changed_together() -> None:
    given = batch()
    several = {**given, "images": {n: x[:, None].repeat(1, 3, 1, 1, 1) for n, x in given["images"].items()}}
    noise = AugmentConfig(shift=3)
    one = augment(given, draws(8, 1), noise)
    all_views = augment(several, draws(8, 1), noise)
    for name, picture in one["images"].items():
        for view in range(3):
            assert torch.equal(all_views["images"][name][:, view], picture)
    assert torch.equal(one["points"], all_views["points"])


def many(count: int = 2000) -> dict:
    return {
        "images": {name: torch.zeros(count, 4, 4, 3, dtype=torch.uint8) for name in "ab"},
        "state": torch.zeros(count, 6),
        "audio_length": torch.full((count,), 9),
        "points": torch.ones(count, 4, 3),
    }


def dropped(given: dict, seed: int = 0, **shares: float) -> dict:
    config = AugmentConfig(0, 0, 0, 0, 0, drop=shares)
    return augment(given, draws(len(given["state"]), seed), config)


def test_senses_are_dropped_as_often_as_asked_and_from_the_generator_alone() -> None:
    out, again = (dropped(many(), a=0.3, audio=0.5, state=0.2) for _ in range(2))
    assert out["image_mask"].keys() == {"a"}
    for mask, share in (
        (out["image_mask"]["a"], 0.3),
        (out["audio_length"] > 0, 0.5),
        (out["state_mask"].all(1), 0.2),
    ):
        assert abs((~mask).float().mean().item() - share) < 0.04
    assert torch.equal(out["state_mask"].all(1), out["state_mask"].any(1))
    for key in ("audio_length", "state_mask"):
        assert torch.equal(out[key], again[key])
    assert torch.equal(out["image_mask"]["a"], again["image_mask"]["a"])
    other = dropped(many(), seed=1, a=0.3)
    assert not torch.equal(out["image_mask"]["a"], other["image_mask"]["a"])


def test_one_camera_stays_among_those_that_are_there() -> None:
    given = many()
    given["image_mask"] = {"a": torch.arange(2000) % 2 == 0}
    out = dropped(given, a=1.0, b=1.0)
    a, b = out["image_mask"]["a"], out["image_mask"]["b"]
    assert (a ^ b).all()
    assert (~a[1::2]).all()  # what was absent stays absent
    assert 0.4 < a[::2].float().mean() < 0.6
    assert given["image_mask"].keys() == {"a"} and given["image_mask"]["a"][0]


def test_a_dropped_camera_has_no_points_and_no_views() -> None:
    given = many(64)
    given["images"]["a"] = given["images"]["a"][:, None].repeat(1, 3, 1, 1, 1)
    given["image_mask"] = {"a": torch.tensor([True, True, False]).expand(64, 3)}
    out = dropped(given, a=0.5)
    gone = ~out["image_mask"]["a"][:, 0]
    assert 0 < gone.sum() < 64
    assert torch.equal(out["image_mask"]["a"], given["image_mask"]["a"] & ~gone[:, None])
    assert torch.equal(out["points"][:, 0, 2] == 0, gone) and (out["points"][:, 2:, 2] == 1).all()


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_of_a_batch_get_the_noise_that_the_whole_would(parts: int) -> None:
    config = AugmentConfig(shift=3, drop={"a": 0.5, "state": 0.3})
    whole = augment(batch(), draws(8, 4), config)
    for part in range(parts):
        given = batch()
        own = {
            "images": {name: x[part::parts] for name, x in given["images"].items()},
            "state": given["state"][part::parts],
            "points": given["points"][part::parts],
        }
        made = augment(own, Draws(torch.Generator().manual_seed(4), 8, part, parts), config)
        for name in ("state", "points", "state_mask"):
            assert torch.equal(made[name], whole[name][part::parts])
        for name in "ab":
            assert torch.equal(made["images"][name], whole["images"][name][part::parts])
        assert torch.equal(made["image_mask"]["a"], whole["image_mask"]["a"][part::parts])
