"""Pictures with texts on disk: interrupted and continued, with any number of processes, they are the same."""

import json
from pathlib import Path

import pytest

from scripts import pictures
from vla.config import load_config
from vla.configuration.web import ShardsConfig
from vla.data.web import open_source
from vla.errors import BadInput

FEW = ["count=7", "per_shard=3", "size=32", "turns=3", "shown=2"]


def made(folder: Path, *overrides: str) -> dict[str, bytes]:
    pictures.main([*FEW, f"out={folder}", "workers=1", *overrides])
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.tar"))}


def test_what_was_lost_is_made_again_bit_for_bit(tmp_path: Path) -> None:
    whole = made(tmp_path / "a")
    assert list(whole) == ["000000.tar", "000001.tar", "000002.tar"]
    assert made(tmp_path / "b", "count=4")["000000.tar"] == whole["000000.tar"]
    (tmp_path / "b" / "000000.tar").write_bytes(whole["000000.tar"][:3000])  # cut in half
    assert made(tmp_path / "b", "workers=2") == whole  # a cut shard, a short one and a missing one
    source = open_source("made", ShardsConfig(path=str(tmp_path / "b")))
    assert len(source) == 7
    for number in range(7):
        sample = source[number]
        assert sample.images[0].shape == (32, 32, 3) and 1 <= len(sample.turns) <= 3
        assert all(turn.prompt and turn.answer for turn in sample.turns)
        assert all(turn.answer.count("{box}") <= len(turn.boxes) for turn in sample.turns)
    page = (tmp_path / "b" / "index.html").read_text()
    assert page.count("<article") == 2


def test_other_settings_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "count=2", "per_shard=2")
    for overrides, line in (
        (["count=2", "per_shard=2", "seed=1"], "was begun with seed=0, now it is 1"),
        (["count=1", "per_shard=1"], "was begun with per_shard=2"),
    ):
        with pytest.raises(SystemExit) as stop:
            made(tmp_path, *overrides)
        assert stop.value.code == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert line in said
    made(tmp_path, "count=4", "per_shard=2")
    with pytest.raises(SystemExit):
        made(tmp_path, "count=2", "per_shard=2")
    assert "holds more than 2 records" in capsys.readouterr().err
    assert json.loads((tmp_path / "shards.json").read_text())["seed"] == 0


@pytest.mark.parametrize(
    ("override", "line"),
    [("count=0", "count=0"), ("size=16", "size=16"), ("seed=-1", "seed=-1"), ("spilt=train", "split")],
)
def test_wrong_options_are_named(override: str, line: str) -> None:
    with pytest.raises(BadInput, match=line):
        load_config("pictures", [override], pictures.Pictures)


def test_an_unknown_colour_is_told_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        made(tmp_path / "x", "colors=[rde]")
    assert "rde" in capsys.readouterr().err and not (tmp_path / "x").exists()
