"""Any recording becomes mono float32 at 16 kHz, or one line says why not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla import notice
from vla.data.sound import RATE, prepare, resample
from vla.errors import BadInput

RATES = (8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000)


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    notice._told.clear()


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def inner(x: np.ndarray) -> np.ndarray:
    """Without the ends, where the tone starts and stops."""
    return x[1200:-1200]


@pytest.mark.parametrize("rate", [*RATES, 44_099])
@pytest.mark.parametrize("hertz", [100.0, 1_234.0, 3_500.0])
def test_a_tone_keeps_its_frequency_amplitude_and_phase(rate: int, hertz: float) -> None:
    ours = prepare(tone(hertz, rate), rate, 1.0)
    wanted = tone(hertz, RATE)
    assert ours.dtype == np.float32 and abs(len(ours) - len(wanted)) <= 1  # half a sample is rounded
    np.testing.assert_allclose(inner(ours[:7999]), inner(wanted[:7999]), atol=2e-3)


ABOVE = [(rate, f) for rate in RATES for f in (8_050.0, 9_500.0, 15_900.0) if f < rate / 2]


@pytest.mark.parametrize(("rate", "above"), ABOVE)
def test_a_tone_above_the_new_nyquist_frequency_does_not_fold_back(rate: int, above: float) -> None:
    left = inner(prepare(tone(above, rate), rate, 1.0))
    assert np.sqrt(np.mean(left**2)) < 1e-3 * 0.5 / np.sqrt(2)  # 60 dB down


def test_no_images_appear_when_the_rate_rises() -> None:
    spectrum = np.abs(np.fft.rfft(inner(prepare(tone(1_000, 8_000), 8_000, 1.0)) * np.hanning(5600)))
    hertz = np.fft.rfftfreq(5600, 1 / RATE)
    assert abs(hertz[spectrum.argmax()] - 1_000) < 3
    assert spectrum[hertz > 4_100].max() < 1e-3 * spectrum.max()


def test_resampling_is_flat_in_the_band_of_speech() -> None:
    for hertz in (50, 300, 1_000, 3_000, 5_000, 7_000):
        x = inner(resample(tone(hertz, 48_000), 48_000, RATE))
        assert abs(np.sqrt(2 * np.mean(x**2)) / 0.5 - 1) < 5e-3, hertz


@given(rate=st.integers(1_000, 384_000), samples=st.integers(1, 400))
def test_any_rate_gives_as_many_samples_as_time_holds(rate: int, samples: int) -> None:
    new = resample(np.full(samples, 0.25), rate, RATE)
    assert len(new) == max(1, round(samples * RATE / rate)) and np.isfinite(new).all()
    assert len(prepare(np.zeros(samples), rate, samples / rate)) <= max(1, round(samples / rate * RATE))


def test_a_constant_stays_and_full_scale_is_never_passed() -> None:
    np.testing.assert_allclose(inner(resample(np.full(24_000, 0.5), 48_000, RATE)), 0.5, atol=1e-6)
    square = np.sign(tone(200, 48_000))
    out = prepare(square, 48_000, 1.0)
    assert np.abs(out).max() == 1.0  # and can so be prepared again
    assert np.array_equal(prepare(out, RATE, 1.0), out)


def test_every_kind_of_sample_means_the_same_sound() -> None:
    x = np.array([-1.0, -0.5, 0.0, 0.25, 0.75])
    kinds = (x, x.astype(np.float32), (x * 2**15).astype(np.int16), (x * 2**31).astype(np.int32))
    for kind in kinds:
        for shaped in (kind, np.stack([kind, kind], 1), kind[:, None]):
            out = prepare(shaped, RATE, 1.0)
            assert out.dtype == np.float32
            np.testing.assert_allclose(out, x, atol=1e-7)
    stereo = np.stack([x, -x], 1)
    np.testing.assert_allclose(prepare(stereo, RATE, 1.0), 0, atol=1e-7)
    full = np.full((4, 2), np.iinfo(np.int16).max, np.int16)  # averaged after the conversion: no overflow
    np.testing.assert_allclose(prepare(full, RATE, 1.0), 32767 / 32768)


def test_sound_at_16_khz_is_passed_on_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 64_000).astype(np.float32)
    assert np.array_equal(prepare(x, RATE, 4.0), x)
    assert capsys.readouterr().err == ""


def test_resampling_is_said_once_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    for rate in (8_000, 8_000, 48_000, 8_000):
        prepare(np.zeros(100), rate, 1.0)
    assert capsys.readouterr().err.splitlines() == [
        "sound at 8000 Hz is resampled to 16000 Hz",
        "sound at 48000 Hz is resampled to 16000 Hz",
    ]


FINE = np.zeros(160, np.float32)


@pytest.mark.parametrize(
    ("audio", "rate", "says"),
    [
        (np.zeros(99_200), RATE, r"^the sound lasts 6.2 s, the model takes at most 4 s: "),
        (np.zeros(64_001), RATE, r"lasts 4.001 s, the model takes at most 4 s"),
        (np.zeros(48_000), 8_000, r"lasts 6 s"),
        (np.array([0.0, np.nan]), RATE, r"not finite at sample 1$"),
        (np.array([[0.0, 0.0], [0.0, np.inf]]), RATE, r"not finite at sample 1$"),
        (np.zeros(0), RATE, r"is empty"),
        (np.zeros((0, 2)), RATE, r"is empty"),
        (np.array([0.5, -3.25]), RATE, r"reaches 3.25, outside of -1..1"),
        (np.zeros(10, np.uint8), RATE, r"not uint8$"),
        (np.zeros(10, bool), RATE, r"not bool$"),
        ([0.0, 0.1], RATE, r"not list$"),
        ("hello.wav", RATE, r"not str$"),
        (np.zeros((2, 160)), RATE, r"not \[2, 160\]$"),
        (np.zeros((4, 4, 4)), RATE, r"not \[4, 4, 4\]$"),
        (np.zeros(()), RATE, r"not \[\]$"),
        (FINE, 0, r"not 0$"),
        (FINE, -16_000, r"not -16000$"),
        (FINE, 16, r"of Hz, 1000 to 384000, not 16$"),
        (FINE, 16_000.5, r"not 16000.5$"),
        (FINE, "16k", r"not '16k'$"),
        (FINE, None, r"not None$"),
    ],
)
def test_what_cannot_be_heard_is_refused_in_one_line(audio: object, rate: object, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        prepare(audio, rate, 4.0)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
