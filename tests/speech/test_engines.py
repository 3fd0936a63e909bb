"""Engines that speak: every voice is heard, rates are kept, a sentence sounds the same every time."""

import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from vla.errors import BadInput
from vla.speech.engines import ENGINES, Engine, open_engine
from vla.speech.engines import espeak as espeak_module

SENTENCE = "put the red cube into the blue bowl"


def engine_or_skip(name: str) -> Engine:
    """flite and espeak must be there, in CI too; others are skipped with the line that a user would get."""
    try:
        return open_engine(name)
    except BadInput as error:
        if name in ("flite", "espeak"):
            raise
        pytest.skip(str(error))


@pytest.fixture(params=["espeak", "flite", "festival", "pico"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return engine_or_skip(request.param)


def few(engine: Engine) -> list[str]:
    voices = engine.voices()
    return [*voices[:: max(1, len(voices) // 6)]]


def test_every_voice_speaks(engine: Engine) -> None:
    sounds = []
    for voice in few(engine):
        sound = engine.say(SENTENCE, voice)
        assert sound.dtype == np.float32 and sound.ndim == 1
        assert 1.0 < len(sound) / 16_000 < 6.0
        assert 0.02 < np.abs(sound).max() <= 1.0
        sounds.append(sound.tobytes())
    assert len(set(sounds)) == len(sounds)


def test_a_sentence_is_the_same_whatever_was_said_before(engine: Engine) -> None:
    first, last = few(engine)[0], few(engine)[-1]
    once = engine.say(SENTENCE, first)
    engine.say("a longer sentence that leaves something behind", last, 1.3)
    assert np.array_equal(engine.say(SENTENCE, first), once)


def test_a_rate_is_a_factor_of_the_pace(engine: Engine) -> None:
    for voice in few(engine)[:2]:
        plain, fast, slow = (len(engine.say(SENTENCE, voice, rate)) for rate in (1.0, 1.25, 0.8))
        assert 0.7 * plain < fast < 0.92 * plain
        assert 1.1 * plain < slow < 1.4 * plain


@pytest.mark.parametrize("name", ["flite", "festival"])
def test_phones_lie_in_order_within_the_sound(name: str) -> None:
    engine = engine_or_skip(name)
    for voice in engine.voices():
        sound, phones = engine.utter("lift the red cube", voice)
        names = [phone.name for phone in phones]
        assert names[0] == names[-1] == "pau" and {"l", "f", "k"} <= set(names)
        ends = [phone.end for phone in phones]
        assert ends == sorted(ends) and ends[0] > 0 and ends[-1] <= len(sound) / 16_000 + 1e-9
        assert ends[-1] > len(sound) / 16_000 - 0.05


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "nothing to say"),
        ("... !", "nothing to say"),
        ("hebe den roten Würfel", "only English in ASCII"),
        ("lift\nthe cube", "on one line"),
        ("lift " * 200, "too long"),
    ],
)
def test_what_cannot_be_spoken_is_one_line(text: str, line: str) -> None:
    with pytest.raises(BadInput, match=line) as error:
        open_engine("flite").say(text)
    assert "\n" not in str(error.value)


def test_quotes_and_scheme_are_only_text() -> None:
    engine = engine_or_skip("festival")
    for text in ('say "hello" (exit) \\ now', "it's here; (print 1)", "-h is a letter"):
        assert len(engine.say(text)) > 8000
    assert len(engine_or_skip("flite").say("-h is a letter")) > 8000


def test_festival_that_was_killed_is_started_again() -> None:
    engine = engine_or_skip("festival")
    once = engine.say(SENTENCE)
    engine.close()
    assert np.array_equal(engine.say(SENTENCE), once)


def test_wrong_names_and_rates_are_one_line() -> None:
    with pytest.raises(BadInput, match="did you mean 'flite'"):
        open_engine("flit")
    with pytest.raises(BadInput, match="flite has no voice 'slc'"):
        open_engine("flite").say("hello", "slc")
    for rate in (0.1, 3.0, float("nan")):
        with pytest.raises(BadInput, match="rate="):
            open_engine("flite").say("hello", None, rate)


@pytest.mark.parametrize("name", ["flite", "festival", "pico"])
def test_a_missing_program_names_its_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(BadInput, match="is not installed: apt-get install"):
        open_engine(name)


def test_espeak_without_its_wheel_is_the_systems_or_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(espeak_module.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'vla\[speech\]', or apt-get install espeak-ng"):
        open_engine("espeak")


def test_piper_reads_a_folder_of_voices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Against a stand-in with piper-tts's names: the package is GPL-3 and a user's own choice."""
    monkeypatch.setitem(sys.modules, "piper", None)
    with pytest.raises(BadInput, match="pip install piper-tts"):
        open_engine("piper", tmp_path)

    class Chunk:
        sample_rate = 22_050
        audio_float_array = np.full(22_050, 0.25, np.float32)

    class PiperVoice:
        @staticmethod
        def load(path: Path) -> "PiperVoice":
            assert path == tmp_path / "amy.onnx"
            return PiperVoice()

        def synthesize(self, text: str, syn_config: types.SimpleNamespace) -> list[Chunk]:
            assert syn_config.length_scale == 0.5
            return [Chunk(), Chunk()]

    module = types.SimpleNamespace(PiperVoice=PiperVoice, SynthesisConfig=types.SimpleNamespace)
    monkeypatch.setitem(sys.modules, "piper", module)
    with pytest.raises(BadInput, match=r"files \*\.onnx"):
        open_engine("piper", tmp_path)
    (tmp_path / "amy.onnx").touch()
    engine = open_engine("piper", tmp_path)
    assert engine.voices() == ("amy",)
    assert len(engine.say("hello", "amy", 2.0)) == 32_000


def test_all_engines_can_be_named() -> None:
    assert set(ENGINES) == {"espeak", "flite", "festival", "pico", "piper"}
