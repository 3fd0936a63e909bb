"""What a processor is fitted to, and what is told of it."""

import sys
from pathlib import Path

import numpy as np
import pytest

for _folder in ("", "tokens"):  # helpers beside other tests
    sys.path.insert(0, str(Path(__file__).parents[1] / _folder))

from moving_arm import SO101, write_motion
from tiny import SENTENCES, tiny_config

from vla.configuration import DecoderConfig, FastConfig, ProcessorConfig, StateConfig, VLAConfig
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.processor import Processor
from vla.tokens.actions import build_tokenizer
from vla.tokens.actions.fast import FastTokenizer
from vla.tokens.text import TextTokenizer
from vla.training.config import TrainerConfig
from vla.training.fitting import refit
from vla.training.run_config import RunConfig

HORIZON, DIM = 8, len(SO101)


def config_of(codes: FastConfig, words: int) -> VLAConfig:
    return tiny_config(
        words,
        state=StateConfig(dim=DIM, hidden=16, frequencies=2),
        decoder=DecoderConfig(kind="autoregressive", horizon=HORIZON, dim=DIM, tokenizer=codes),
        processor=ProcessorConfig(relative=(False,) * DIM),
    )


def fitted_to_stillness(codes: FastConfig) -> Processor:
    """Codes of an arm that stands still, anywhere."""
    tokenizer = TextTokenizer.train(SENTENCES)
    state = np.random.default_rng(0).uniform(-50, 50, (300, DIM)).astype(np.float32)
    actions = state[:, None].repeat(HORIZON, 1)
    return Processor.fit(config_of(codes, tokenizer.size), tokenizer, state, actions)


def test_codes_that_training_goes_on_with_are_tried_on_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    processor = fitted_to_stillness(FastConfig(scale=50, vocabulary=300))
    out, error = capsys.readouterr()
    assert "action codes: fast" in out and not error
    root = write_motion(tmp_path / "data", [60, 50])
    data = ChunkData([Source(EpisodeDataset(root))], HORIZON)
    run = RunConfig(root, TrainerConfig(samples=1), tmp_path / "out", processor.config)
    again = refit(processor.config, processor, data, np.arange(len(data.state)), run)
    out, error = capsys.readouterr()
    assert again is processor and "action codes: fast" in out
    assert error.startswith("warning: ") and "were fitted to other data" in error


def test_published_codes_are_tried_on_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = FastConfig(scale=50, vocabulary=300)
    chunks = np.random.default_rng(1).uniform(-0.1, 0.1, (300, 1, DIM)).repeat(HORIZON, 1)
    tokenizer = build_tokenizer(codes, HORIZON, DIM).fit(chunks)
    assert isinstance(tokenizer, FastTokenizer)
    tokenizer.save_published(tmp_path)
    fitted_to_stillness(FastConfig(scale=50, vocabulary=300, path=str(tmp_path)))
    out, error = capsys.readouterr()
    assert "action codes: fast" in out and error.startswith("warning: ")
