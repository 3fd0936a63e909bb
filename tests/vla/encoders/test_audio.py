"""What is heard: Whisper's features, and encoders to which padding means nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig as HFConfig
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel

from vla.configuration import AudioConfig, LogMelConfig, WhisperConfig
from vla.encoders.audio import AudioEncoder, build_audio_encoder, sinusoids
from vla.encoders.mel import HOP, RATE, log_mel, mel_filters
from vla.errors import BadInput

TINY: dict[str, Any] = {
    "model_type": "whisper",
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "max_source_positions": 50,  # a clip of one second
    "vocab_size": 60,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
ENCODERS = (LogMelConfig(width=24, layers=2, heads=2), WhisperConfig(config=TINY))


def chirp(n: int) -> np.ndarray:
    """Something like speech: harmonics of a gliding voice under syllables, over a little noise."""
    t = np.arange(n) / RATE
    pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(3 * t)) / RATE
    voice = sum(np.sin(k * pitch) / k for k in range(1, 20))
    noise = np.random.default_rng(1).normal(size=n) * 1e-3
    return np.float32(0.2 * voice * np.clip(np.sin(2 * np.pi * 4 * t), 0, 1) + noise)


SOUNDS = {
    "noise": lambda n: np.float32(np.random.default_rng(0).uniform(-1, 1, n)),
    "tone": lambda n: np.float32(0.5 * np.sin(2 * np.pi * 440 * np.arange(n) / RATE)),
    "high tone": lambda n: np.float32(np.sin(2 * np.pi * 7900 * np.arange(n) / RATE)),
    "chirp": chirp,
    "silence": lambda n: np.zeros(n, np.float32),
    "click at the end": lambda n: np.float32(np.arange(n) == n - 1),
}


def whisper_features(sound: np.ndarray, bands: int = 80, seconds: int = 30) -> torch.Tensor:
    extract = WhisperFeatureExtractor(feature_size=bands, chunk_length=seconds)
    features = extract(sound, sampling_rate=RATE, return_tensors="pt").input_features
    return features[0].T


@pytest.mark.parametrize("kind", SOUNDS)
@pytest.mark.parametrize("samples", [1, 159, 16_000, 23_456, 64_000 - 100, 64_000])
def test_log_mel_is_whispers(kind: str, samples: int) -> None:
    sound = SOUNDS[kind](samples)
    frames = -(-samples // HOP)
    ours = log_mel(torch.tensor(sound)[None])[0]
    assert ours.dtype == torch.float32 and ours.shape == (frames, 80)
    torch.testing.assert_close(ours, whisper_features(sound)[:frames], atol=1e-4, rtol=0)
    short = log_mel(torch.tensor(sound)[None], clip=4 * RATE)[0]  # the clip's mirrored end included
    torch.testing.assert_close(short, whisper_features(sound, seconds=4)[:frames], atol=1e-4, rtol=0)


def test_log_mel_of_a_whole_clip_and_of_128_bands() -> None:
    sound = chirp(30 * RATE)
    torch.testing.assert_close(
        log_mel(torch.tensor(sound)[None])[0], whisper_features(sound), atol=1e-4, rtol=0
    )
    sound = chirp(RATE)
    wide = log_mel(torch.tensor(sound)[None], bands=128)[0]
    torch.testing.assert_close(wide, whisper_features(sound, bands=128)[:100], atol=1e-4, rtol=0)
    theirs = torch.tensor(WhisperFeatureExtractor(feature_size=128).mel_filters).float()
    torch.testing.assert_close(mel_filters(128), theirs, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("samples", [5, 160, 15_999, 16_000])
def test_a_sound_has_the_same_features_in_any_row(samples: int) -> None:
    alone = torch.tensor(SOUNDS["click at the end"](samples) + chirp(samples))[None]
    frames = -(-samples // HOP)
    for row in (samples + 1, samples + 250, 32_000):
        louder = torch.rand(1, row) * 2 - 1  # a neighbour's loudness must not matter
        padded = torch.nn.functional.pad(alone, (0, row - samples))
        together = log_mel(torch.cat([padded, louder]))[0, :frames]
        torch.testing.assert_close(together, log_mel(alone)[0], atol=1e-5, rtol=0)


def test_log_mel_keeps_its_precision_under_autocast_and_after_inference() -> None:
    sound = torch.tensor(chirp(4000))[None]
    mel_filters.cache_clear()
    with torch.inference_mode():
        plain = log_mel(sound)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(log_mel(sound), plain)
    log_mel(sound.requires_grad_()).sum().backward()
    assert sound.grad is not None and sound.grad.isfinite().all()


def encoder_of(config: LogMelConfig | WhisperConfig, seconds: float = 1.0) -> AudioEncoder:
    return build_audio_encoder(AudioConfig(encoder=config, seconds=seconds)).eval()


@pytest.mark.parametrize("config", ENCODERS, ids=lambda c: c.kind)
def test_padding_and_neighbours_change_nothing(config: LogMelConfig | WhisperConfig) -> None:
    encoder = encoder_of(config, seconds=0.3)  # so that rows can be longer than the longest sound
    lengths = torch.tensor([16_000, 3_000, 0, 1, 640, 641, 3_001])
    batch = torch.zeros(len(lengths), 16_000)
    for row, n in zip(batch, lengths, strict=True):
        row[:n] = torch.rand(int(n)) * 2 - 1
    with torch.no_grad():
        together = encoder(batch, lengths)
        garbage = batch + torch.rand_like(batch) * (torch.arange(16_000) >= lengths[:, None])
        torch.testing.assert_close(encoder(garbage, lengths).x, together.x)
        assert together.mask is not None and together.x.isfinite().all()
        for i, n in enumerate(lengths.tolist()):
            count = -(-n // encoder.hop)
            assert together.mask[i].tolist() == [k < count for k in range(together.mask.shape[1])]
            alone = encoder(batch[i : i + 1, : max(n, 1)], lengths[i : i + 1])
            assert alone.x.shape[1] == max(encoder.tokens, count)
            torch.testing.assert_close(alone.x[0, :count], together.x[i, :count], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("config", ENCODERS, ids=lambda c: c.kind)
def test_sounds_matter_and_gradients_are_finite(config: LogMelConfig | WhisperConfig) -> None:
    encoder = encoder_of(config)
    lengths = torch.tensor([16_000, 9_000, 0])
    audio = torch.rand(3, 16_000) * 2 - 1
    heard = encoder(audio, lengths)
    assert heard.x.shape == (3, encoder.tokens, encoder.channels)
    assert encoder.tokens == {"log_mel": 25, "whisper": 50}[config.kind]
    assert len(encoder.layer_list) == 2 and all(
        isinstance(layer, torch.nn.Module) for layer in encoder.layer_list
    )
    assert heard.present().tolist() == [True, True, False]
    other = encoder(audio.flip(1), torch.tensor([16_000, 9_000, 0]))
    assert not torch.allclose(heard.x[0], other.x[0], atol=1e-3)
    (heard.x * heard.full_mask()[..., None]).square().sum().backward()
    gradients = [p.grad for p in encoder.parameters() if p.requires_grad]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert any(g is not None and g.abs().max() > 0 for g in gradients)


def test_time_order_is_heard() -> None:
    encoder = encoder_of(ENCODERS[0])
    beep, hum = torch.tensor(SOUNDS["high tone"](8000)), torch.tensor(SOUNDS["tone"](8000))
    audio = torch.stack([torch.cat([beep, hum]), torch.cat([hum, beep])])
    means = encoder(audio, torch.tensor([16_000, 16_000])).x.mean(1)
    assert not torch.allclose(means[0], means[1], atol=1e-3)


def test_sinusoids_are_whispers() -> None:
    theirs = WhisperModel(HFConfig(**TINY)).encoder.embed_positions.weight
    torch.testing.assert_close(sinusoids(50, 16), theirs, atol=1e-5, rtol=1e-5)
    assert sinusoids(4, 7).shape == (4, 7)


def hf_encode(path: Path, sound: np.ndarray) -> torch.Tensor:
    model = WhisperModel.from_pretrained(path).eval()
    bands = model.config.num_mel_bins
    features = whisper_features(sound, bands, model.config.max_source_positions // 50).T[None]
    with torch.no_grad():
        return model.encoder(features).last_hidden_state


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("family", [WhisperModel, WhisperForConditionalGeneration])
def test_a_whole_clip_is_encoded_as_by_transformers(tmp_path: Path, family: type, bands: int) -> None:
    family(HFConfig(**TINY, num_mel_bins=bands)).save_pretrained(tmp_path)
    sound = chirp(16_000)
    encoder = encoder_of(WhisperConfig(path=str(tmp_path)))
    with torch.no_grad():
        ours = encoder(torch.tensor(sound)[None], torch.tensor([16_000]))
    assert ours.mask is not None and ours.mask.all()
    torch.testing.assert_close(ours.x, hf_encode(tmp_path, sound), atol=1e-5, rtol=1e-5)


def test_a_shorter_clip_enters_the_layers_as_in_transformers(tmp_path: Path) -> None:
    model = WhisperModel(HFConfig(**TINY)).eval()
    model.save_pretrained(tmp_path)
    sound = chirp(7_000)  # 22 tokens
    seen: list[torch.Tensor] = []

    def spy(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        seen.append(args[0])

    encoder = encoder_of(WhisperConfig(path=str(tmp_path)), seconds=0.5)
    for layers in (model.encoder.layers, encoder.layer_list):
        layers[0].register_forward_pre_hook(spy)
    with torch.no_grad():
        model.encoder(whisper_features(sound, seconds=1).T[None])
        encoder(torch.tensor(sound)[None], torch.tensor([7_000]))
    assert encoder.tokens == seen[1].shape[1] == 25
    torch.testing.assert_close(seen[1], seen[0][:, :25], atol=1e-5, rtol=1e-5)


def test_whisper_is_built_again_from_its_own_config(tmp_path: Path) -> None:
    WhisperModel(HFConfig(**TINY, num_mel_bins=128)).save_pretrained(tmp_path)
    first = encoder_of(WhisperConfig(path=str(tmp_path)))
    raw = json.loads(json.dumps(first.config_dict()))
    assert str(tmp_path) not in json.dumps(raw)
    again = encoder_of(WhisperConfig(config=raw))
    again.load_state_dict(first.state_dict())
    audio, length = torch.rand(1, 16_000), torch.tensor([12_000])
    with torch.no_grad():
        assert torch.equal(again(audio, length).x, first(audio, length).x)
    assert again.config_dict() == first.config_dict()
    both = encoder_of(WhisperConfig(path=str(tmp_path), config=raw))  # as a saved model names its origin
    with torch.no_grad():
        assert torch.equal(both(audio, length).x, first(audio, length).x)


def test_half_precision_checkpoints_become_float32(tmp_path: Path) -> None:
    WhisperModel(HFConfig(**TINY)).half().save_pretrained(tmp_path)
    assert {p.dtype for p in encoder_of(WhisperConfig(path=str(tmp_path))).parameters()} == {torch.float32}


def refusal(config: WhisperConfig, seconds: float = 1.0) -> str:
    with pytest.raises(BadInput) as caught:
        build_audio_encoder(AudioConfig(encoder=config, seconds=seconds))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_whisper_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "there is no such folder" in refusal(WhisperConfig(path=str(tmp_path / "nowhere")))
    assert "no readable config.json" in refusal(WhisperConfig(path=str(tmp_path)))
    (tmp_path / "config.json").write_text("not json")
    assert "no readable config.json" in refusal(WhisperConfig(path=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    assert "'wav2vec2', 'whisper' is needed" in refusal(WhisperConfig(path=str(tmp_path)))
    assert "None, 'whisper' is needed" in refusal(WhisperConfig(config={"d_model": 16}))
    assert "did you mean 'd_model'?" in refusal(WhisperConfig(config={**TINY, "d_modl": 16}))
    assert "d_model" in refusal(WhisperConfig(config={**TINY, "d_model": "wide"}))
    assert "makes no Whisper encoder" in refusal(WhisperConfig(config={**TINY, "d_model": 15}))
    line = refusal(WhisperConfig(config=TINY), seconds=1.1)
    assert "audio.seconds 1.1" in line and "enough for 1 s" in line


def test_damaged_checkpoints_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = WhisperModel(HFConfig(**TINY))
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    assert shard.name in refusal(WhisperConfig(path=str(tmp_path)))
    for file in tmp_path.glob("model*"):
        file.unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")  # a pickle, which is never opened
    assert "model.safetensors" in refusal(WhisperConfig(path=str(tmp_path)))
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = "encoder.layers.1.fc1.weight"
    save_file({k: v for k, v in weights.items() if k != name}, tmp_path / "model.safetensors")
    assert name in refusal(WhisperConfig(path=str(tmp_path)))
    save_file({**weights, name: torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    line = refusal(WhisperConfig(path=str(tmp_path)))
    assert name in line and "[3, 3], its config.json asks for [32, 16]" in line
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    assert "cannot be loaded" in refusal(WhisperConfig(path=str(tmp_path)))
    assert "REPORT" not in "".join(capsys.readouterr())  # no table beside the line


def test_a_sound_longer_than_whispers_clip_is_refused() -> None:
    with pytest.raises(BadInput, match=r"the sound lasts 2 s, this Whisper takes at most 1 s"):
        encoder_of(ENCODERS[1])(torch.zeros(1, 32_000), torch.tensor([32_000]))
