"""The convolutional encoder, and points read from a map."""

import pytest
import torch

from vla.configuration import CameraConfig, ConvConfig
from vla.encoders.conv import ConvEncoder, Film
from vla.encoders.points import PointReader, grid_tokens

TINY = ConvConfig(stem=4, width=8, deep=12)
RECORDED = (85.051132, 0.125147, 0.298876, 0.498300)


def pictures(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)


def test_the_numbers_are_those_of_the_first_release() -> None:
    """Recorded from the encoder that trained `tabletop-small`, before it was taken apart."""
    torch.manual_seed(7)
    encoder = ConvEncoder(ConvConfig(), CameraConfig("front", 32, 3, 2), 16)
    x = (torch.arange(2 * 32 * 32 * 3) * 37 % 256).to(torch.uint8).reshape(2, 32, 32, 3)
    seen = encoder(x, torch.linspace(-1, 1, 32).reshape(2, 16))
    found = [seen.tokens.sum(), seen.tokens.abs().mean(), seen.maps.abs().mean(), seen.points.mean()]
    torch.testing.assert_close(torch.stack(found), torch.tensor(RECORDED), rtol=2e-4, atol=1e-5)


def test_film_starts_as_a_plain_norm_and_then_listens() -> None:
    film, deaf = Film(8, 6), Film(8, None)
    x, summary = torch.randn(2, 8, 3, 3), torch.randn(2, 6)
    torch.testing.assert_close(film(x, summary), deaf(x, None))
    torch.testing.assert_close(deaf(x, None).mean(1), torch.zeros(2, 3, 3), atol=1e-5, rtol=0)
    assert list(deaf.parameters()) == []
    torch.nn.init.normal_(film.film.weight)
    assert (film(x, summary) - film(x, -summary)).abs().max() > 0.1


def test_a_point_is_where_its_query_matches() -> None:
    reader = PointReader(8, 2, None, 5)
    x = torch.zeros(1, 8, 6, 4)
    x[0, 0, 4, 1], x[0, 1, 0, 3] = 200.0, 200.0
    with torch.no_grad():
        reader.query.copy_(torch.eye(8)[:2])
    tokens, maps, xy = reader(x)
    assert tokens.shape == (1, 2, 5) and maps.shape == (1, 2, 6, 4)
    assert maps.flatten(2).argmax(-1).tolist() == [[4 * 4 + 1, 3]]
    torch.testing.assert_close(xy, torch.tensor([[[1.5 / 4, 4.5 / 6], [3.5 / 4, 0.5 / 6]]]))


def test_the_sentence_says_what_a_point_looks_for() -> None:
    reader = PointReader(8, 2, 6, 5)
    x = torch.randn(1, 8, 5, 5).expand(2, -1, -1, -1)
    _, maps, _ = reader(x, torch.randn(2, 6))
    assert (maps[0] - maps[1]).abs().max() > 1e-3


def test_grid_tokens_are_means_row_by_row() -> None:
    x = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(grid_tokens(x, 2)[:, 1], x[:, :, :2, 3:].mean((2, 3)))
    torch.testing.assert_close(grid_tokens(x, 0)[:, 6 + 2], x[:, :, 1, 2])


@pytest.mark.parametrize(("points", "grid", "tokens"), [(3, 2, 7), (0, 2, 4), (2, 0, 2 + 16), (0, 0, 16)])
@pytest.mark.parametrize("condition", [None, 6])
def test_token_counts(points: int, grid: int, tokens: int, condition: int | None) -> None:
    encoder = ConvEncoder(TINY, CameraConfig("front", 32, points, grid), condition)
    summary = None if condition is None else torch.randn(2, condition)
    seen = encoder(pictures(2, 32), summary)
    assert encoder.tokens == tokens == seen.tokens.shape[1]
    if points:
        assert seen.maps.shape == (2, points, 8, 8)
    used = torch.autograd.grad(seen.tokens.square().sum(), list(encoder.parameters()), allow_unused=True)
    assert all(grad is not None for grad in used)


def test_names_of_the_weights() -> None:
    """A checkpoint's names: changing one breaks every saved model."""
    encoder = ConvEncoder(TINY, CameraConfig("front", 32, 2, 2), 6)
    assert list(dict(encoder.named_children())) == (
        ["stem_1", "stem_2", "fine", "shrink", "deep", "lateral", "last", "points"]
    )
    assert {name for name in encoder.state_dict() if name.startswith("points")} == {
        f"points.{part}.{kind}" for part in ("query", "point.0", "point.2") for kind in ("weight", "bias")
    }


def test_bf16_weights_take_bytes() -> None:
    encoder = ConvEncoder(TINY, CameraConfig("front", 32, 2, 2), 6).bfloat16()
    seen = encoder(pictures(2, 32), torch.randn(2, 6).bfloat16())
    assert seen.tokens.dtype == torch.bfloat16
    assert seen.maps.dtype == seen.points.dtype == torch.float32
