"""Datasets of one robot whose numbers do not mean the same are told apart."""

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic_episodes import JOINTS, write_dataset

from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.meaning import check_same_meaning, names_of
from vla.errors import BadInput


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    return [write_dataset(tmp_path / name, [4]) for name in ("one", "other")]


def _edit(root: Path, robot: str | None = None, fps: int | None = None, **names: Any) -> None:
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["robot_type"], info["fps"] = robot or info["robot_type"], fps or info["fps"]
    for key, value in names.items():
        info["features"][key.replace("_", ".")]["names"] = value
    path.write_text(json.dumps(info))


def _sets(pair: list[Path]) -> list[EpisodeDataset]:
    return [EpisodeDataset(root) for root in pair]


def test_equal_ones_pass(pair: list[Path]) -> None:
    check_same_meaning(_sets(pair))
    _edit(pair[1], action={"motors": JOINTS})  # the same names, as older datasets write them
    check_same_meaning(_sets(pair))
    _edit(pair[1], action=None)  # nothing said
    check_same_meaning(_sets(pair))


def test_names_of() -> None:
    assert names_of({"shape": [2], "names": ["x", "y"]}) == ["x", "y"]
    assert names_of({"shape": [2], "names": {"axes": ["x", "y"]}}) == ["x", "y"]
    assert names_of({"shape": [2], "names": None}) is None
    assert names_of({"shape": [2], "names": ["state"]}) is None  # a name for the whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": ["a", *JOINTS[1:]]}, ["number 0 of 'action'", "'shoulder_pan.pos'", "'a'", "robot_type"]),
        ({"observation_state": [*JOINTS[:4], *JOINTS[:3:-1]]}, ["number 4 of 'observation.state'", "order"]),
        ({"fps": 10}, ["20 and 10 fps", "convert"]),
    ],
)
def test_others_are_named_with_both_files_and_the_remedy(
    pair: list[Path], change: dict[str, Any], words: list[str]
) -> None:
    _edit(pair[1], **change)
    with pytest.raises(BadInput) as caught:
        check_same_meaning(_sets(pair))
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words)
    assert all(f"{root}/meta/info.json" in text for root in pair)
    if "fps" not in change:
        with pytest.raises(BadInput, match="are of one robot"):
            ChunkData([Source(data) for data in _sets(pair)], horizon=2)


def test_another_width_is_named(tmp_path: Path) -> None:
    pair = [write_dataset(tmp_path / str(joints), [4], joints=joints) for joints in (6, 4)]
    with pytest.raises(BadInput, match=r"4/meta.*shape \[4\], but \[6\] in .*6/meta.*robot_type"):
        check_same_meaning(_sets(pair))


def test_different_robots_may_differ(pair: list[Path]) -> None:
    _edit(pair[1], robot="another", action=["a", *JOINTS[1:]])
    check_same_meaning(_sets(pair))
    with pytest.raises(BadInput):
        check_same_meaning(_sets(pair), ["", ""])  # one model that does not tell them apart
