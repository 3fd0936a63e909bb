"""Sound files in: what is one is heard, whatever its name; what is not is one line with the file's name."""

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from vla.errors import BadInput
from vla.speech.files import read_sound, to_int16, wav_bytes, write_sound

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)


def refused(path: Path, line: str, seconds: float = 10.0) -> None:
    with pytest.raises(BadInput, match=line) as error:
        read_sound(path, seconds)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_there_and_back(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", TONE)
    assert np.abs(read_sound(tmp_path / "a.wav") - TONE).max() <= 0.5 / 32768 + 1e-7
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]
    assert to_int16(np.array([1.0, -1.0, 2.0, 0.0])).tolist() == [32767, -32768, 32767, 0]


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_stereo_of_any_rate_and_depth_is_mono_at_16_khz(kind: str, rate: int, tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    scale = {"uint8": 127, "int16": 32767, "int32": 2**31 - 1}.get(kind, 1)
    samples = (tone * scale + (128 if kind == "uint8" else 0)).astype(kind)
    wavfile.write(tmp_path / "x.wav", rate, np.stack([samples, samples], 1))
    sound = read_sound(tmp_path / "x.wav")
    assert sound.dtype == np.float32 and len(sound) == 16_000
    assert np.abs(sound[500:-500] - TONE[500:-500]).max() < (0.02 if kind == "uint8" else 0.002)


def test_flac_and_ogg_are_read_whatever_their_name(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="the extra `speech` is not installed")
    for name, kind, near in (("a.flac", "FLAC", 1e-3), ("b.ogg", "OGG", 0.1), ("c.wav", "FLAC", 1e-3)):
        soundfile.write(tmp_path / name, TONE, 16_000, format=kind)
        sound = read_sound(tmp_path / name)
        assert np.abs(sound[500:15_000] - TONE[500:15_000]).max() < near
    cut = tmp_path / "cut.flac"
    cut.write_bytes((tmp_path / "a.flac").read_bytes()[:30])
    refused(cut, "FLAC file is damaged")


def test_a_wav_called_mp3_is_still_a_wav(tmp_path: Path) -> None:
    (tmp_path / "x.mp3").write_bytes(wav_bytes(TONE))
    assert len(read_sound(tmp_path / "x.mp3")) == 16_000


def test_every_cut_and_every_turned_byte_of_a_header_is_one_line_or_a_sound(tmp_path: Path) -> None:
    whole, path = wav_bytes(TONE[:200]), tmp_path / "x.wav"
    for cut in [*range(1, 60), 300]:
        path.write_bytes(whole[:cut])
        refused(path, "WAV|no samples")
    for place in range(44):
        for value in (0, 1, 127, 255):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                sound = read_sound(path)
            except BadInput as error:
                assert "\n" not in str(error)
            else:
                assert np.isfinite(sound).all() and np.abs(sound).max() <= 1


def test_what_is_no_sound_is_one_line(tmp_path: Path) -> None:
    refused(tmp_path / "none.wav", "no such file")
    refused(tmp_path, "a folder")
    (tmp_path / "empty.wav").touch()
    refused(tmp_path / "empty.wav", "is empty")
    (tmp_path / "text.wav").write_text("lift the red cube")
    refused(tmp_path / "text.wav", "neither a WAV")
    (tmp_path / "nothing.wav").write_bytes(wav_bytes(TONE[:0]))
    refused(tmp_path / "nothing.wav", "no samples|damaged")
    wavfile.write(tmp_path / "nan.wav", 16_000, np.array([0.0, np.nan, 0.5], np.float32))
    refused(tmp_path / "nan.wav", "not finite at sample 1")
    wavfile.write(tmp_path / "loud.wav", 16_000, np.array([0.0, 3.0], np.float32))
    refused(tmp_path / "loud.wav", "outside of -1..1")


def test_ten_minutes_are_too_long_for_a_command(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "long.wav", 8_000, np.zeros(600 * 8_000, np.int16))
    refused(tmp_path / "long.wav", "lasts 600 s, the model takes at most 10 s")
    assert len(read_sound(tmp_path / "long.wav")) == 600 * 16_000


def test_a_header_that_promises_too_much_does_not_take_the_memory(tmp_path: Path) -> None:
    whole = bytearray(wav_bytes(TONE[:200]))
    whole[40:44] = struct.pack("<I", 2**31)
    (tmp_path / "x.wav").write_bytes(whole)
    assert len(read_sound(tmp_path / "x.wav")) == 200  # as of a program that wrote into a pipe


def test_silence_is_a_sound(tmp_path: Path) -> None:
    write_sound(tmp_path / "silence.wav", np.zeros(16_000))
    assert not read_sound(tmp_path / "silence.wav").any()
