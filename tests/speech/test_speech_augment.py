"""What a room does to a voice: levels are those asked for, and all chance follows from three numbers."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla.errors import BadInput
from vla.speech import effects
from vla.speech.augment import AugmentConfig, Augmenter, generator
from vla.speech.noises import NOISES, babble

PLAIN = AugmentConfig(speed=0, room=0, noise=0, telephone=0, dull=0, clipping=0, silence=0)


def voice(n: int = 16_000, seed: int = 0, pause: int = 4_000) -> npt.NDArray[np.float32]:
    """A buzz with syllables and a pause before it."""
    time = np.arange(n) / 16_000
    buzz = sum(np.sin(2 * np.pi * 120 * k * time + seed) / k for k in range(1, 20))
    sound = 0.1 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))
    sound[:pause] = 0
    return sound.astype(np.float32)


CROWD = [voice(9_000 + 777 * i, i, 0) for i in range(5)]
_NOISES = sorted([*NOISES, "babble"])


def noise(kind: str, n: int, seed: int) -> npt.NDArray[np.float64]:
    rng = generator(0, seed)
    return babble(n, rng, CROWD) if kind == "babble" else NOISES[kind](n, rng)


@given(
    kind=st.sampled_from(_NOISES),
    decibels=st.floats(-10, 40),
    n=st.integers(500, 30_000),
    seed=st.integers(0, 99),
)
def test_noise_is_as_loud_as_asked(kind: str, decibels: float, n: int, seed: int) -> None:
    sound = voice(n, pause=n // 4)
    heard = effects.add_noise(sound, noise(kind, n, seed), decibels)
    assert len(heard) == n
    assert effects.snr(sound, heard - sound) == pytest.approx(decibels, abs=0.01)


def test_pauses_do_not_count_for_the_level() -> None:
    assert effects.level(voice(32_000, pause=16_000)) == pytest.approx(
        effects.level(voice(pause=0)), rel=0.05
    )
    assert effects.level(np.zeros(1000)) == 0.0 and effects.level(np.zeros(0)) == 0.0


@pytest.mark.parametrize("kind", _NOISES)
def test_a_noise_has_power_one_and_follows_from_its_seed(kind: str) -> None:
    for n in (1000, 16_001):
        assert np.mean(noise(kind, n, 3) ** 2) == pytest.approx(1.0)
        assert np.array_equal(noise(kind, n, 3), noise(kind, n, 3))
        assert not np.array_equal(noise(kind, n, 3), noise(kind, n, 4))


def test_pink_noise_has_equal_power_in_every_octave() -> None:
    power = np.abs(np.fft.rfft(noise("pink", 2**18, 0))) ** 2
    hertz = np.fft.rfftfreq(2**18, 1 / 16_000)
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].sum() for low in (100, 200, 400, 800, 1600, 3200)]
    assert max(octaves) / min(octaves) < 1.15


def test_a_room_rings_as_long_as_asked() -> None:
    for seconds in (0.3, 0.8):
        answer = effects.room(generator(0, 1), seconds, 0.0)
        assert len(answer) == int(seconds * 16_000) and np.argmax(np.abs(answer)) == 0
        left = np.cumsum((answer**2)[::-1])[::-1]  # Schroeder's curve, from -10 to -30 dB
        left = 10 * np.log10(left[1:] / left[1])
        decay = (np.argmax(left < -30) - np.argmax(left < -10)) / 16_000 * 3
        assert 0.4 * seconds < decay < 1.2 * seconds  # high notes die sooner


def test_further_away_is_more_room() -> None:
    near, far = (effects.room(generator(0, 1), 0.5, direct) for direct in (10.0, -5.0))
    for answer, direct in ((near, 10.0), (far, -5.0)):
        assert 10 * np.log10(answer[0] ** 2 / np.sum(answer[1:] ** 2)) == pytest.approx(direct, abs=0.1)


def test_a_room_keeps_length_and_level() -> None:
    sound = voice()
    wet = effects.reverberate(sound, effects.room(generator(0, 2), 0.6, 3.0))
    assert len(wet) == len(sound) and effects.level(wet) == pytest.approx(effects.level(sound))
    assert np.abs(wet[:3_900]).max() < 1e-12  # nothing rings before it was said


def test_a_telephone_lets_through_its_band() -> None:
    time = np.arange(16_000) / 16_000
    heard = {f: effects.band(np.sin(2 * np.pi * f * time), 300, 3400).std() for f in (100, 1000, 3000, 5000)}
    assert heard[1000] > 0.7 and heard[3000] > 0.7 and heard[100] < 0.01 and heard[5000] < 0.01


def test_faster_is_shorter_and_higher() -> None:
    time = np.arange(16_000) / 16_000
    fast = effects.speed(np.sin(2 * np.pi * 500 * time), 1.1)
    assert len(fast) == round(16_000 / 1.1)
    assert np.argmax(np.abs(np.fft.rfft(fast))) * 16_000 / len(fast) == pytest.approx(550, abs=2)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**23 - 1), utterance=st.integers(0, 10**9), draw=st.integers(0, 1000))
def test_an_utterance_is_the_same_each_time_and_never_above_full_scale(
    seed: int, utterance: int, draw: int
) -> None:
    augment = Augmenter(AugmentConfig(clipping=0.5, telephone=0.3), seed, CROWD)
    sound = voice(8_000)
    heard = augment(sound, utterance, draw)
    assert heard.dtype == np.float32 and np.isfinite(heard).all() and np.abs(heard).max() <= 1
    assert len(sound) / 1.11 < len(heard) < len(sound) / 0.89 + 16_000
    assert np.array_equal(heard, Augmenter(augment.config, seed, CROWD)(sound, utterance, draw))
    assert not np.array_equal(heard, augment(sound, utterance, draw + 1))
    assert not np.array_equal(heard, augment(sound, utterance + 1, draw))


def test_silence_and_a_single_sample_stay_finite() -> None:
    augment = Augmenter(AugmentConfig(clipping=0.5), 0, CROWD)
    for n in (1, 2, 5000):
        for utterance in range(20):
            assert not augment(np.zeros(n, np.float32), utterance).any()
            assert np.isfinite(augment(np.full(n, 1e-9, np.float32), utterance)).all()


def _heard(numbers: list[int]) -> list[bytes]:
    augment = Augmenter(AugmentConfig(), 5, CROWD)
    return [augment(voice(6_000), number, 2).tobytes() for number in numbers]


def test_workers_change_nothing() -> None:
    numbers = list(range(8))
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        backwards = list(pool.map(_heard, [[n] for n in numbers[::-1]]))
    assert [each[0] for each in backwards[::-1]] == _heard(numbers)


def test_one_setting_leaves_the_others_alone() -> None:
    """The gain that an utterance gets is the same with and without rooms and noise."""
    sound = voice()
    for utterance in range(10):
        plain = Augmenter(PLAIN)(sound, utterance)
        roomy = Augmenter(replace(PLAIN, room=1.0))(sound, utterance)
        assert np.abs(plain).max() == pytest.approx(np.abs(roomy).max(), rel=1e-4)
        assert len(plain) == len(roomy) == len(sound)


def test_each_effect_can_be_had_alone() -> None:
    sound = voice()
    gain = Augmenter(PLAIN)(sound, 0)
    assert np.allclose(gain / np.abs(gain).max(), sound / np.abs(sound).max(), atol=1e-6)
    cut = Augmenter(replace(PLAIN, clipping=1.0, overdrive=(4.0, 4.0), peaks=(0.0, 0.0)))(sound, 0)
    assert (np.abs(cut) == 1).sum() > 100
    noisy = Augmenter(replace(PLAIN, noise=1.0, decibels=(10.0, 10.0), peaks=(0.0, 0.0)))(sound, 0)
    # The gain is what the peak is scaled by; the pause holds noise alone.
    before = np.mean(noisy[:3_000] ** 2)
    assert 10 * np.log10(effects.level(noisy) / before) == pytest.approx(10, abs=3)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"noise": 1.5}, "noise=1.5"),
        ({"speeds": (1.1, 0.9)}, "speeds="),
        ({"decibels": (0.0, float("nan"))}, "decibels="),
        ({"noises": {"pnik": 1.0}}, "did you mean 'pink'"),
        ({"noises": {"pink": -1.0}}, "noises.pink"),
        ({"noises": {"pink": 0.0}}, "give noise=0"),
        ({"silence": -1.0}, "silence="),
    ],
)
def test_wrong_settings_are_one_line(wrong: dict, line: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(BadInput, match=line):
        AugmentConfig(**wrong)
