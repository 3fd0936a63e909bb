"""What codes lose is told when a training begins, and warned of where it is much."""

import numpy as np
import numpy.typing as npt
import pytest

from vla.configuration.tokenizer import FastConfig, ResidualConfig, SplineConfig, TokenizerConfig
from vla.tokens.actions import build_tokenizer
from vla.tokens.actions.loss import tell_loss

HORIZON, DIM = 8, 3


def still(count: int = 400) -> npt.NDArray[np.float64]:
    """Chunks that stand still, anywhere."""
    return np.random.default_rng(0).uniform(-1, 1, (count, 1, DIM)).repeat(HORIZON, 1)


def shaking(count: int = 400) -> npt.NDArray[np.float64]:
    """Chunks of the same range whose joints go to and fro."""
    turns = np.where(np.arange(HORIZON) % 2, 1.0, -1.0)[:, None]
    return np.abs(still(count)) * turns


@pytest.mark.parametrize(
    "config", [FastConfig(vocabulary=300), ResidualConfig(levels=6, codes=64)], ids=lambda config: config.kind
)
def test_chunks_unlike_those_it_was_fitted_to(
    config: TokenizerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = build_tokenizer(config, HORIZON, DIM).fit(still())
    tell_loss(tokenizer, still())
    out, error = capsys.readouterr()
    assert f"action codes: {config.kind}" in out and "at worst" in out and not error
    tell_loss(tokenizer, np.concatenate([still(), shaking()]))  # in range, and encoded without an error
    out, error = capsys.readouterr()
    assert "action codes: " in out and error.startswith("warning: 3") and error.count("\n") == 1
    assert "of 800 chunks come back more than 0.2 off" in error


@pytest.mark.parametrize("config", [FastConfig(scale=1, vocabulary=300), SplineConfig(points=2, degree=1)])
def test_codes_that_are_too_coarse(config: TokenizerConfig, capsys: pytest.CaptureFixture[str]) -> None:
    moving = np.clip(still() + 0.7 * shaking(), -1, 1)
    tell_loss(build_tokenizer(config, HORIZON, DIM).fit(moving), moving)
    assert capsys.readouterr().err.startswith("warning: ")
