"""Sentences and sounds are encoded once an instruction; nothing else changes."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import raw_batch, tiny
from torch import Tensor

from vla.configuration import AudioConfig, LogMelConfig, WhisperConfig
from vla.errors import BadInput
from vla.instructions import InstructionCache, fingerprints
from vla.model import VLA
from vla.senses import Sensed

WHISPER = {
    "model_type": "whisper",
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 80,
    "max_source_positions": 50,
}
LOG_MEL = AudioConfig(encoder=LogMelConfig(width=16, layers=1, heads=2), seconds=0.5)
SOUNDS = [None, LOG_MEL, AudioConfig(encoder=WhisperConfig(config=WHISPER), seconds=0.5)]


def build(audio: AudioConfig | None) -> tuple[VLA, dict[str, Any]]:
    model, processor = tiny(**({} if audio is None else {"audio": audio}))
    made = raw_batch(4)
    words, mask = zip(*(processor.tokenizer.encode(task, 10) for task in made["task"]), strict=True)
    batch: dict[str, Any] = {
        "text": torch.tensor(np.stack(words)),
        "text_mask": torch.tensor(np.stack(mask)),
        "state": torch.from_numpy(made["state"]) / 100,
        "images": {
            "front": torch.from_numpy(made["images"]["front"]),
            "wrist": torch.from_numpy(made["images"]["wrist"][:, :16, :16].copy()),
        },
    }
    if audio is not None:
        batch["audio"] = torch.randn(4, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
        batch["audio_length"] = torch.tensor([8000, 3000, 0, 8000])
    return model, batch


def pick(batch: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    return {
        key: {name: each[rows] for name, each in value.items()} if isinstance(value, dict) else value[rows]
        for key, value in batch.items()
    }


def tensors(sensed: Sensed) -> list[Tensor]:
    every = [part for each in sensed.tokens.values() for part in (each.x, each.full_mask())]
    return [*every, *sensed.maps.values()]


def equal(one: Sensed, other: Sensed) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def near(one: Sensed, other: Sensed) -> bool:
    pairs = zip(tensors(one), tensors(other), strict=True)
    return all(torch.allclose(a.float(), b.float(), atol=1e-5) for a, b in pairs)


@pytest.mark.parametrize("audio", SOUNDS, ids=["words", "log_mel", "whisper"])
@torch.no_grad()
def test_the_same_batch_again_is_the_very_same(audio: AudioConfig | None) -> None:
    model, batch = build(audio)
    cache, wanted = InstructionCache(), model.senses(batch)
    assert equal(model.senses(batch, cache), wanted)
    kinds = 1 if audio is None else 2
    assert (cache.hits, cache.misses) == (0, 4 * kinds)
    runs: list[str] = []
    for name in ("text", "audio")[:kinds]:
        model.senses.encoders[name].register_forward_hook(lambda *_, name=name: runs.append(name))
    assert equal(model.senses(batch, cache), wanted)
    assert not runs and (cache.hits, cache.misses) == (4 * kinds, 4 * kinds)
    other = {**batch, "state": batch["state"] + 0.1}  # what is seen and felt is not kept
    assert equal(model.senses(other, cache), model.senses(other))


@pytest.mark.parametrize("audio", SOUNDS, ids=["words", "log_mel", "whisper"])
@torch.no_grad()
def test_rows_hit_by_themselves(audio: AudioConfig | None) -> None:
    model, batch = build(audio)
    cache, kinds = InstructionCache(), 1 if audio is None else 2
    model.senses(pick(batch, [0, 2]), cache)
    assert near(model.senses(batch, cache), model.senses(batch))  # rounded as a batch of two, of four
    assert (cache.hits, cache.misses) == (2 * kinds, 4 * kinds)
    swapped = pick(batch, [3, 1, 2, 0])
    assert near(model.senses(swapped, cache), model.senses(swapped))
    assert cache.misses == 4 * kinds
    one = pick(batch, [1])
    fresh = InstructionCache()
    model.senses(one, fresh)
    assert equal(model.senses(one, fresh), model.senses(one))


@torch.no_grad()
def test_the_same_sentence_is_encoded_once_in_a_batch() -> None:
    model, batch = build(None)
    cache, same = InstructionCache(), pick(batch, [1, 1, 2, 1])
    assert near(model.senses(same, cache), model.senses(same))
    assert cache.misses == len(cache) == 2


@torch.no_grad()
def test_a_word_a_mask_or_a_sample_makes_another_key() -> None:
    model, batch = build(LOG_MEL)
    cache = InstructionCache()
    model.senses(batch, cache)
    for key, row in (("text", 0), ("audio", 0), ("audio_length", 1)):
        other = {**batch, key: batch[key].clone()}
        other[key][row] = other[key][row] // 2 if key == "audio_length" else other[key][row].roll(1)
        before = cache.misses
        assert near(model.senses(other, cache), model.senses(other))
        assert cache.misses == before + 1


@torch.no_grad()
def test_other_weights_or_precision_make_everything_anew() -> None:
    model, batch = build(LOG_MEL)
    cache = InstructionCache()
    model.senses(batch, cache)
    with torch.autocast("cpu", torch.bfloat16):
        assert equal(model.senses(batch, cache), model.senses(batch))
    assert cache.misses == 16
    model.senses(batch, cache)
    assert cache.misses == 24
    model.load_state_dict({name: each * 0.5 for name, each in model.state_dict().items()})
    assert equal(model.senses(batch, cache), model.senses(batch))
    assert cache.misses == 32 and len(cache) == 8
    optimizer = torch.optim.SGD(model.senses.encoders["audio"].parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert equal(model.senses(batch, cache), model.senses(batch))
    assert cache.misses == 36  # the sounds alone: the sentence's weights are the same


def test_nothing_is_kept_while_learning() -> None:
    model, batch = build(LOG_MEL)
    cache = InstructionCache()
    model.senses(batch, cache)  # with gradients
    model.train()
    with torch.no_grad():
        model.senses(batch, cache)
    assert len(cache) == cache.misses == 0
    assert not any(
        isinstance(each, InstructionCache) for module in model.modules() for each in vars(module).values()
    )


@torch.no_grad()
def test_kept_rows_serve_in_and_out_of_inference_mode() -> None:
    model, batch = build(LOG_MEL)
    cache = InstructionCache()
    with torch.inference_mode():
        model.senses(batch, cache)
    wanted = model.senses(batch)
    found = model.senses(batch, cache)
    assert equal(found, wanted) and cache.hits == 8
    found.tokens["text"].x.mul_(2.0)  # what is done to an answer does not reach what is kept
    assert equal(model.senses(batch, cache), wanted)


@given(st.integers(1, 4), st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), max_size=8))
def test_never_more_than_its_capacity_and_always_right(capacity: int, batches: list[list[int]]) -> None:
    cache, module = InstructionCache(capacity), torch.nn.Linear(1, 1)
    for batch in batches:
        x = torch.tensor(batch, dtype=torch.float32)[:, None]
        made: list[int] = []

        def encode(rows: Any, x: Tensor = x, made: list[int] = made) -> tuple[Tensor | None, ...]:
            made.extend(rows)
            return x[rows] * 2, None

        doubled, nothing = cache.rows("text", fingerprints(x), [module], encode, x.device)
        assert nothing is None and doubled is not None and torch.equal(doubled, x * 2)
        assert len(cache) <= capacity
        assert len({batch[i] for i in made}) == len(made)
    if batches:
        last = list(dict.fromkeys(reversed(batches[-1])))[:capacity]
        assert len(cache) >= len(last)


def test_the_least_lately_used_goes_first() -> None:
    cache, module, made = InstructionCache(2), torch.nn.Linear(1, 1), []

    def ask(key: str) -> None:
        def encode(rows: Any) -> tuple[Tensor | None, ...]:
            made.append(key)
            return (torch.zeros(1),)

        cache.rows("text", [key], [module], encode, torch.device("cpu"))

    for key in ("a", "b", "a", "c", "a", "b"):
        ask(key)
    assert made == ["a", "b", "c", "b"]


def test_a_capacity_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="capacity=0: at least 1 is needed"):
        InstructionCache(0)
