"""A spoken corpus: interrupted and gone on with, in any number of processes, it is the same bit for bit."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from scripts import speech, speech_corpus
from vla.config import load_config
from vla.errors import BadInput
from vla.speech.augment import AugmentConfig, Augmenter
from vla.speech.corpus import INDEX, NOTE, SOUND, Corpus
from vla.speech.corpus_writer import begin, join, missing_parts, plan, write_part
from vla.speech.engines import open_engine
from vla.speech.voices import voices_of

FEW = ["count=7", "test=4", "per_part=3", "workers=1", "test_shares.festival=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("spoken") / "corpus"
    speech.main(["corpus", f"out={out}", *FEW])
    return out


def ends(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        speech.main([*arguments])
    assert left.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_an_utterance_is_what_its_engine_says(folder: Path) -> None:
    corpus = Corpus(folder)
    corpus.check()
    assert len(corpus) == 11 and corpus.hours * 3600 == pytest.approx(
        sum(len(h.sound) for h in corpus) / 16_000
    )
    for heard in corpus:
        about = heard.about
        said = open_engine(about.engine).utter(about.text, about.voice, about.rate)
        assert heard.sound.dtype == np.float32
        assert np.abs(heard.sound - said.sound).max() <= 1 / 32768
        assert [phone.name for phone in about.phones] == [phone.name for phone in said.phones]
        assert bool(about.phones) == (about.engine == "flite")
    assert [h.about.split for h in corpus] == ["train"] * 7 + ["test"] * 4
    assert len(Corpus(folder, "test")) == 4
    assert Corpus(folder, "test")[0].about == corpus[7].about == corpus[-4].about
    assert [h.about for h in corpus[2:4]] == [corpus[2].about, corpus[3].about]
    with pytest.raises(IndexError):
        corpus[11]


def test_it_goes_to_workers_as_a_name_and_serves_as_a_crowd(folder: Path) -> None:
    corpus = Corpus(folder)
    sent = pickle.dumps(corpus)
    assert len(sent) < 20_000
    assert np.array_equal(pickle.loads(sent)[3].sound, corpus[3].sound)
    config = AugmentConfig(noise=1.0, noises={"babble": 1.0})
    first, second = (Augmenter(config, 1, c.sounds())(corpus[0].sound, 0) for c in (corpus, Corpus(folder)))
    assert np.array_equal(first, second) and not np.array_equal(first, corpus[0].sound)


def test_interrupted_and_in_two_processes_it_is_the_same(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    config = load_config("speech_corpus", [f"out={out}", *FEW, "workers=2"], speech_corpus.MakeCorpus)
    planned, note = speech_corpus._planned(config)
    out.mkdir()
    begin(out, note)

    def stop() -> None:
        if stop.calls == 4:
            raise KeyboardInterrupt
        stop.calls += 1

    stop.calls = 0  # type: ignore[attr-defined]
    engines: dict = {}  # type: ignore[type-arg]
    assert sum(write_part(out, 0, planned[:3], engines, stop)) == 3
    with pytest.raises(KeyboardInterrupt):
        list(write_part(out, 1, planned[3:6], engines, stop))
    assert missing_parts(out, 4) == [1, 2, 3]
    assert not list((out / "parts").glob(".*"))
    with pytest.raises(BadInput, match="holds no whole corpus"):
        Corpus(out)
    made = speech_corpus._speak(config, [planned[i : i + 3] for i in range(0, 11, 3)])
    assert made == 8
    join(out, 4, note)
    for name in (SOUND, INDEX):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    assert not (out / "parts").exists()


def test_damage_is_one_line(folder: Path, tmp_path: Path) -> None:
    def copy() -> Path:
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        return tmp_path

    sound = bytearray((copy() / SOUND).read_bytes())
    sound[1000] ^= 1
    (tmp_path / SOUND).write_bytes(sound)
    with pytest.raises(BadInput, match=r"sound\.i16 is damaged"):
        Corpus(tmp_path).check()
    (tmp_path / SOUND).write_bytes(sound[:-2])
    with pytest.raises(BadInput, match="not as it was made"):
        Corpus(tmp_path)
    index = (copy() / INDEX).read_bytes()
    (tmp_path / INDEX).write_bytes(b"!" + index[1:])
    with pytest.raises(BadInput, match=r"index\.jsonl is damaged"):
        Corpus(tmp_path)
    (copy() / NOTE).write_text("[]")
    with pytest.raises(BadInput, match=r"corpus\.json is damaged"):
        Corpus(tmp_path)
    with pytest.raises(BadInput, match=r"make it: python scripts/speech\.py corpus"):
        Corpus(tmp_path / "none")
    with pytest.raises(BadInput, match="nothing of split 'validation'"):
        Corpus(folder, "validation")


def test_run_again_there_is_nothing_to_do_and_other_settings_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / NOTE).stat().st_mtime_ns
    speech.main(["corpus", f"out={folder}", *FEW])
    assert "nothing new" in capsys.readouterr().out and (folder / NOTE).stat().st_mtime_ns == before
    said = ends(capsys, "corpus", f"out={folder}", *FEW, "seed=1")
    assert "was begun with seed=0, now it is 1" in said
    assert json.loads((folder / NOTE).read_text())["how"]["engines"].keys() == {"espeak", "flite"}


def test_who_speaks_follows_from_seed_and_number_alone() -> None:
    texts, shares = ["lift the cube"] * 400, {"espeak": 0.5, "flite": 0.5, "pico": 0.0}
    planned = plan(texts, "train", shares, 3)
    assert planned[100:] == plan(texts[100:], "train", shares, 3, first=100)
    assert planned != plan(texts, "train", shares, 4)
    share = sum(each.voice.engine == "flite" for each in planned) / 400
    assert 0.4 < share < 0.6
    assert {each.voice.split for each in planned} == {"train"}
    assert all(0.85 <= each.rate <= 1.2 for each in planned)
    with pytest.raises(BadInput, match="no engine speaks"):
        plan(texts, "train", {"flite": 0.0}, 3)


def test_by_default_a_held_out_engine_is_tested_and_none_is_missing() -> None:
    config = load_config("speech_corpus", [], speech_corpus.MakeCorpus)
    for split, shares in (("train", config.train_shares), ("test", config.test_shares)):
        assert sum(shares.values()) == pytest.approx(1.0)
        assert {v.engine for v in voices_of(split)} | {"pico"} == set(shares) | {"pico"}
    assert config.train_shares.get("festival", 0) == 0 < config.test_shares["festival"]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("count=-1", "count=-1"),
        ("+train_shares.flit=1", "did you mean 'flite'"),
        ("+train_shares.festival=1", "festival has no voice for split 'train'"),
        ("train_shares.flite=-1", "train_shares.flite=-1"),
        ("sentences=none.txt", "give a text file"),
        ("per_prat=3", "per_part"),
    ],
)
def test_wrong_settings_are_one_line(
    override: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in ends(capsys, "corpus", f"out={tmp_path}/x", "test=0", override)
    assert not (tmp_path / "x" / NOTE).exists()


def test_sentences_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("stop\n\nwhat is left of the bowl?\n")
    common = ["test=0", "count=3", f"sentences={lines}", "train_shares.flite=0", "workers=1"]
    speech.main(["corpus", f"out={tmp_path}/a", *common])
    assert [h.about.text for h in Corpus(tmp_path / "a")] == ["stop", "what is left of the bowl?", "stop"]
    lines.write_text("halt\nhebe den Würfel\n")
    assert "sentence 2: only English" in ends(capsys, "corpus", f"out={tmp_path}/b", *common)


def test_say_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speech.main(["say", "it's here, {go}: x=1", f"out={tmp_path}/x.wav"])
    assert "s of sound in" in capsys.readouterr().out and (tmp_path / "x.wav").stat().st_size > 10_000
    speech.main(["say", "engine=espeak"])
    assert "en-us+f2" in capsys.readouterr().out
    assert "ends in .wav" in ends(capsys, "say", "hello", f"out={tmp_path}")
    assert "nothing to say" in ends(capsys, "say", "", f"out={tmp_path}/y.wav")
    assert "no part 'sya'" in ends(capsys, "sya", "hello")


def test_inspect_prints_a_table_and_writes_a_page(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    speech.main(["inspect", f"corpus={folder}", f"page={page}", "samples=3"])
    said, text = capsys.readouterr().out, page.read_text()
    assert "7 utterances" in said and "0 voices in both splits" in said
    assert text.count("<audio") == text.count("<img") == 6 and "http" not in text.replace("data:", "")
    assert "holds no whole corpus" in ends(capsys, "inspect", f"corpus={tmp_path}/none")
