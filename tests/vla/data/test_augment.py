import numpy as np
import torch

from vla.configuration import AugmentConfig
from vla.data.augment import augment

QUIET = AugmentConfig(shift=0, brightness=0, contrast=0, color=0, state_noise=0)


def batch() -> dict:
    g = torch.Generator().manual_seed(3)
    return {
        "images": {n: torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8, generator=g) for n in "ab"},
        "state": torch.rand(8, 6, generator=g),
        "points": torch.rand(8, 4, 3, generator=g).round(),
    }


def test_seeded_and_leaves_its_input_alone() -> None:
    given, kept = batch(), batch()
    one, two, three = (augment(given, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    for name in "ab":
        assert torch.equal(one["images"][name], two["images"][name])
        assert not torch.equal(one["images"][name], three["images"][name])
        assert torch.equal(given["images"][name], kept["images"][name])
        assert one["images"][name].dtype == torch.float32
        assert one["images"][name].min() >= 0 and one["images"][name].max() <= 1
    assert torch.equal(given["points"], kept["points"])
    assert torch.equal(given["state"], kept["state"])


def test_no_noise_is_identity() -> None:
    given, out = batch(), augment(batch(), torch.Generator(), QUIET)
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
    out = augment(given, torch.Generator().manual_seed(0), AugmentConfig(4, 0, 0, 0, 0))
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
