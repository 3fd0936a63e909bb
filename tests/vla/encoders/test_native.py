"""Raw patches straight into the backbone."""

import pytest
import torch

from vla.configuration import CameraConfig, NativeConfig
from vla.encoders.native import NativeEncoder


def encoder(row_ends: bool = True, grid: int = 0) -> NativeEncoder:
    return NativeEncoder(NativeConfig(patch=8, row_ends=row_ends), CameraConfig("front", 24, 0, grid), 10)


def test_a_patch_is_its_own_pixels_mapped_once() -> None:
    native = encoder(row_ends=False)
    picture = torch.randint(0, 256, (1, 24, 24, 3), dtype=torch.uint8)
    tokens = native(picture).tokens[0]
    for row in range(3):
        for column in range(3):
            patch = picture[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].reshape(-1)
            wanted = native.embed(patch / 127.5 - 1) + native.rows[row] + native.columns[column]
            torch.testing.assert_close(tokens[3 * row + column], wanted, atol=1e-5, rtol=1e-5)


def test_every_row_ends() -> None:
    native, bare = encoder(), encoder(row_ends=False)
    bare.load_state_dict({k: v for k, v in native.state_dict().items() if k != "row_end"})
    picture = torch.randint(0, 256, (2, 24, 24, 3), dtype=torch.uint8)
    tokens = native(picture).tokens
    assert tokens.shape == (2, 12, 10) and native.tokens == 12 and native.channels == 10
    assert (tokens[:, 3::4] == native.row_end).all()
    assert torch.equal(tokens.reshape(2, 3, 4, 10)[:, :, :3].flatten(1, 2), bare(picture).tokens)


@pytest.mark.parametrize(("row_ends", "count"), [(True, 6), (False, 4)])
def test_a_grid_saves_tokens(row_ends: bool, count: int) -> None:
    native = encoder(row_ends, grid=2)
    seen = native(torch.rand(2, 24, 24, 3))
    assert seen.tokens.shape == (2, count, 10) and native.tokens == count
    seen.tokens.sum().backward()
    assert all(parameter.grad is not None for parameter in native.parameters())
