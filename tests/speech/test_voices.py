"""The table of voices: no speaker is both learned from and tested on, through whatever engine."""

import re
import shutil

import pytest

from vla.errors import BadInput
from vla.speech.engines import DIALECTS, open_engine
from vla.speech.voices import RECORDED, TEST_DIALECTS, VOICES, installed, voices_of

FESTIVALS_NAMES = {"kal_diphone": "kal", "ked_diphone": "ked", "cmu_us_slt_arctic_hts": "slt"}


def test_no_speaker_is_in_both_splits() -> None:
    assert not {v.speaker for v in voices_of("train")} & {v.speaker for v in voices_of("test")}
    assert len({(v.engine, v.name) for v in VOICES}) == len(VOICES)


def test_one_person_has_one_name_in_all_engines() -> None:
    for voice in RECORDED:
        if voice.engine == "flite":
            assert voice.speaker == voice.name.removesuffix("16")
        if voice.engine == "festival":
            assert voice.speaker == FESTIVALS_NAMES[voice.name]


def test_one_engine_and_three_recorded_people_are_never_learned_from() -> None:
    assert "festival" not in {v.engine for v in voices_of("train")}
    assert {v.speaker for v in voices_of("test") if v.engine != "espeak"} == {"slt", "awb", "ked"}
    assert {v.speaker for v in voices_of("train", ("flite",))} == {"kal", "rms"}


def test_espeaks_test_voices_have_an_unheard_dialect_and_an_unheard_variant() -> None:
    parts = {
        split: [v.name.partition("+") for v in voices_of(split, ("espeak",))] for split in ("train", "test")
    }
    for i in (0, 2):
        assert not {p[i] for p in parts["train"]} & {p[i] for p in parts["test"]}
    assert {p[0] for p in parts["test"]} == set(TEST_DIALECTS) and len(parts["train"]) > 400
    assert {p[0] for split in parts.values() for p in split} == set(DIALECTS)
    # iven2 differs from iven by a number or two; so does AnxiousAndy from Andy.
    family = {
        s: {re.sub(r"\d+$|Robot$|^Anxious", "", p[2]) for p in parts[s] if len(p[2]) > 2} for s in parts
    }
    assert not family["train"] & family["test"]


@pytest.mark.parametrize("engine", ["espeak", "flite", "festival"])
def test_the_table_names_voices_that_exist(engine: str) -> None:
    try:
        there = set(open_engine(engine).voices())
    except BadInput as error:
        if engine != "festival":
            raise
        pytest.skip(str(error))
    assert {v.name for v in VOICES if v.engine == engine} <= there | {"kal_diphone"}
    if engine == "flite":
        assert {v.name for v in VOICES if v.engine == engine} == there


def test_a_missing_engine_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {v.engine for v in installed("train", ("espeak", "flite"))} == {"espeak", "flite"}
    with pytest.raises(BadInput, match="festival has no voice for split 'train'"):
        installed("train", ("festival",))
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(BadInput, match="apt-get install flite"):
        installed("train", ("flite",))


def test_every_voice_outside_has_a_reason() -> None:
    assert all(v.reason for v in VOICES if v.split != "train" or v.engine != "espeak")
