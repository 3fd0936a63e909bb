"""A third party's ear, word errors, and the stop word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.tabletop.language import all_sentences_sample
from scripts import speech
from vla.errors import BadInput
from vla.speech.engines import open_engine
from vla.speech.files import write_sound
from vla.speech.language_model import arpa
from vla.speech.silero import CHUNK, Silero
from vla.speech.stop import STOP_WORDS, StopWord, says_stop
from vla.speech.word_errors import edits, word_errors

pytest.importorskip("pocketsphinx", reason="the extra `speech` is not installed")
from vla.speech.recognise import Recogniser

_Words = st.lists(st.sampled_from("abc"), max_size=7)


@pytest.mark.parametrize(
    ("said", "heard", "count"),
    [("a b c", "a b c", 0), ("a b c", "", 3), ("", "a b", 2), ("a b c", "a x c", 1), ("a b c", "b c d", 2)],
)
def test_edits_of_known_pairs(said: str, heard: str, count: int) -> None:
    assert edits(said.split(), heard.split()) == count


@given(_Words, _Words, _Words)
def test_edits_are_a_distance(a: list[str], b: list[str], c: list[str]) -> None:
    assert edits(a, b) == edits(b, a) and (edits(a, b) == 0) == (a == b)
    assert edits(a, c) <= edits(a, b) + edits(b, c)
    assert abs(len(a) - len(b)) <= edits(a, b) <= max(len(a), len(b))


def test_the_interval_holds_the_rate_and_narrows() -> None:
    said = [["a", "b", "c", "d"]] * 400
    heard = [["a", "b", "c", "d"] if i % 4 else ["a", "b"] for i in range(400)]
    found, few = word_errors(said, heard), word_errors(said[:40], heard[:40])
    assert found.rate == pytest.approx(0.125) and found.low < 0.125 < found.high and found.whole == 0.75
    assert found.high - found.low < few.high - few.low and found.words == 1600
    assert word_errors(said, said).high == 0.0
    with pytest.raises(ValueError, match="no words"):
        word_errors([[]], [[]])


def test_a_language_model_sums_to_one() -> None:
    text = arpa(["lift the cube", "lift the ball", "drop it"])
    ones, twos = (part.splitlines() for part in text.partition("1-grams:")[2].split("\\2-grams:"))
    single = {w[1]: (10 ** float(w[0]), 10 ** float(w[2])) for w in map(str.split, ones) if len(w) == 3}
    pairs = {(w[1], w[2]): 10 ** float(w[0]) for w in map(str.split, twos) if len(w) == 3}
    assert sum(p for word, (p, _) in single.items() if word != "<s>") == pytest.approx(1.0, abs=2e-3)
    for a in ("<s>", "lift", "the", "drop"):
        total = sum(pairs.get((a, b), single[a][1] * p) for b, (p, _) in single.items() if b != "<s>")
        assert total == pytest.approx(1.0, abs=2e-3)


SENTENCES = all_sentences_sample(300, 5)


@pytest.fixture(scope="module")
def ear() -> Recogniser:
    return Recogniser(SENTENCES)


def test_recorded_voices_are_understood(ear: Recogniser) -> None:
    engine, said, heard = open_engine("flite"), [], []
    for i, sentence in enumerate(all_sentences_sample(12, 77)):
        said.append(sentence.split())
        heard.append(ear(engine.say(sentence, ("kal16", "slt", "rms")[i % 3])))
    assert word_errors(said, heard).rate < 0.15


def test_silence_and_an_unknown_word(ear: Recogniser) -> None:
    assert len(ear(np.zeros(16_000, np.float32))) <= 1
    with pytest.raises(BadInput, match="'xqzt' is pronounced"):
        Recogniser(["lift the xqzt"])
    with pytest.raises(BadInput, match="needs sentences"):
        Recogniser([])


def test_what_says_stop() -> None:
    for words in ("stop", "stop now", "please stop", "stop stop stop", "freeze please", "robot halt"):
        assert says_stop(words.split()), words
    for words in ("", "please", "now", "put the top on", "stop the red cube", "lift the cube stop"):
        assert not says_stop(words.split()), words


@pytest.fixture(scope="module")
def word() -> StopWord:
    return StopWord(SENTENCES)


def heard_at(word: StopWord, sound: np.ndarray) -> list[float]:  # type: ignore[type-arg]
    """Seconds at which stop is told, with half a second of silence before and after."""
    speech, padded = Silero(), np.pad(sound, 8_000)
    word.reset()
    chunks = [padded[i : i + CHUNK] for i in range(0, len(padded) - CHUNK + 1, CHUNK)]
    return [i * 0.032 for i, chunk in enumerate(chunks, 1) if word.feed(chunk, speech(chunk))]


def test_stop_is_heard_once_and_soon_in_recorded_voices(word: StopWord) -> None:
    engine, found = open_engine("flite"), 0
    for voice in ("kal16", "rms", "awb", "slt"):
        for said in STOP_WORDS:
            sound = engine.say(said, voice)
            told = heard_at(word, sound)
            assert len(told) <= 1
            found += len(told)
            assert not told or told[0] < 0.5 + len(sound) / 16_000 + 0.3
    assert found >= 10  # of 12


def test_a_command_and_what_else_is_said_is_no_stop(word: StopWord) -> None:
    engine = open_engine("flite")
    for i, sentence in enumerate([*all_sentences_sample(8, 99), "what is left of the bowl"]):
        assert heard_at(word, engine.say(sentence, ("awb", "slt", "rms")[i % 3])) == [], sentence
    assert heard_at(word, np.zeros(32_000, np.float32)) == []


def test_listen_tells_utterances_and_stops(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    engine = open_engine("flite")
    said = [engine.say(text, "slt") for text in ("lift the red cube", "stop")]
    write_sound(tmp_path / "x.wav", np.concatenate([np.pad(each, 16_000) for each in said]))
    speech.main(["listen", f"source={tmp_path}/x.wav", "real_time=false", f"keep={tmp_path}/kept"])
    out = capsys.readouterr().out
    assert out.count("STOP") == 1 and "2 utterances, 1 stops" in out
    assert len(list((tmp_path / "kept").glob("*.wav"))) == 2
    with pytest.raises(SystemExit):
        speech.main(["listen", f"source={tmp_path}/none.wav", "stop_word=false"])
    assert "no such file" in capsys.readouterr().err
