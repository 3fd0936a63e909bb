"""A spoken command is read where a typed one is, in its place or beside it."""

from typing import Any

import pytest
import torch
from test_instruction_cache import LOG_MEL, build
from tiny import tiny_config

from vla.configuration import AudioConfig, LogMelConfig, PerceiverConfig, WordsConfig
from vla.encoders.base import Tokens
from vla.errors import BadInput
from vla.instructions import InstructionCache
from vla.model import VLA

SPOKEN = AudioConfig(
    encoder=LogMelConfig(width=16, layers=1, heads=2),
    connector=PerceiverConfig(tokens=3, layers=1, heads=2),
    seconds=0.5,
    role="instruction",
)


def spoken() -> tuple[VLA, dict[str, Any]]:
    """A model that takes spoken commands; rows with sound and words, both, and words alone."""
    model, batch = build(SPOKEN)
    batch["text_mask"][1] = False  # row 1: sound alone
    return model, batch


def words_of(model: VLA, batch: dict[str, Any]) -> Tokens:
    return model.senses(batch).tokens["text"]


@torch.no_grad()
def test_sound_has_no_tokens_of_its_own_in_the_sequence() -> None:
    model, batch = spoken()
    assert "audio" not in model.senses.names
    assert "audio" not in model.senses(batch).tokens


@torch.no_grad()
def test_what_is_said_changes_what_is_read_and_where_the_eyes_look() -> None:
    model, batch = spoken()
    other = batch | {"audio": batch["audio"].flip(1)}
    assert not torch.allclose(words_of(model, batch).x[1], words_of(model, other).x[1], atol=1e-4)
    seen, changed = model.senses(batch), model.senses(other)
    assert not torch.allclose(seen.maps["front"][1], changed.maps["front"][1], atol=1e-6)


@torch.no_grad()
def test_a_row_without_sound_is_as_if_there_were_none() -> None:
    model, batch = spoken()
    silent = {key: value for key, value in batch.items() if not key.startswith("audio")}
    heard, typed = words_of(model, batch).x, words_of(model, silent).x
    assert torch.allclose(heard[2], typed[2], atol=1e-5)  # the row whose sound has no samples
    assert not torch.allclose(heard[0], typed[0], atol=1e-4)
    nobody = batch | {"audio_length": torch.zeros(4, dtype=torch.int64)}
    assert torch.allclose(words_of(model, nobody).x, typed, atol=1e-6)


@torch.no_grad()
def test_what_follows_the_end_of_a_sound_is_not_heard() -> None:
    model, batch = spoken()
    noisy = batch["audio"].clone()
    noisy[1, 3000:] = 0.7  # row 1 has 3000 samples
    assert torch.allclose(words_of(model, batch).x, words_of(model, batch | {"audio": noisy}).x, atol=1e-6)


@torch.no_grad()
def test_a_command_is_encoded_once() -> None:
    model, batch = spoken()
    cache, wanted = InstructionCache(), words_of(model, batch)
    for _ in range(2):
        found = model.senses(batch, cache).tokens["text"]
        assert torch.allclose(found.x, wanted.x, atol=1e-6)
    assert (cache.hits, cache.misses) == (4, 4)
    model.senses(batch | {"audio": batch["audio"] * 0.5}, cache)
    assert cache.misses == 8


def test_gradients_reach_the_ears_from_what_is_done() -> None:
    model, batch = spoken()
    model.senses(batch).maps["front"][1].square().sum().backward()
    ears = model.senses.encoders["audio"]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in ears.parameters() if p.ndim > 1)


def test_it_needs_a_sentence_encoder() -> None:
    with pytest.raises(BadInput, match=r"audio\.role=instruction .* text\.kind=pooled"):
        tiny_config(20, text=WordsConfig(), audio=SPOKEN)


def test_a_sense_stays_a_sense() -> None:
    model, _ = build(LOG_MEL)
    assert "audio" in model.senses.names
