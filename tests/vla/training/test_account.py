"""What `data mix` tells and shows is what the training's own batches hold."""

import dataclasses
import html
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_mixture import COLORS, config, samples, write_dataset

from vla.configuration import FlowConfig
from vla.data.page import Card, Section, page
from vla.data.web.shards_writer import write_shards
from vla.tokens.locations import read as read_box
from vla.training.account import _filling, account
from vla.training.caches import build_caches
from vla.training.intake import Intake, Reading, draw, read
from vla.training.mixing import MixtureConfig
from vla.training.run_config import RunConfig
from vla.training.shown import cards

Made = tuple[RunConfig, Reading, Intake]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("account")
    write_shards(samples(40), place / "squares", per_shard=16)
    return write_dataset(place / "arm", [8, 6, 7, 9], size=32), place / "squares"


def made(folders: tuple[Path, Path], tmp_path: Path, **more: Any) -> Made:
    answer = more.pop("longest", 12)
    settings = config(folders, tmp_path, augment=None, **more)
    words = dataclasses.replace(settings.model.answer, max_length=answer)
    settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, answer=words))
    reading = read(settings)
    return settings, reading, draw(settings, reading, torch.device("cpu"))


@pytest.mark.parametrize("decoder", [None, FlowConfig(horizon=3, mlp=32)], ids=["bins", "flow"])
def test_a_robots_card_is_the_frame_that_was_drawn(
    folders: tuple[Path, Path], tmp_path: Path, decoder: FlowConfig | None
) -> None:
    """Without augmentation: the stored pictures and sentence; actions within a bin, none past the end."""
    run, reading, intake = made(folders, tmp_path, model={} if decoder is None else {"decoder": decoder})
    shown = next(iter(cards(run, reading, intake, 20).values()))
    frames = np.concatenate([intake.mixture(start, 8).frames for start in (0, 8, 16)])[: len(shown)]
    raw = reading.data.gather(frames, intake.batches.images)
    span = np.ptp(reading.data.actions)
    for i, card in enumerate(shown):
        for place, name in enumerate(reading.processor.camera_names):
            assert np.array_equal(card.pictures[place], raw["images"][name][i])
        assert card.lines == [("", raw["task"][i])]
        assert card.plot is not None
        pad = np.isnan(card.plot.values).all(1)
        assert np.array_equal(pad, raw["action_is_pad"][i])
        off = np.abs(card.plot.values - raw["actions"][i])[~pad]
        assert off.max() < (1e-3 if decoder else 0.01) * span
        assert sum(map(len, card.points)) == (raw["points"][i][:, 2] > 0).sum()


@pytest.mark.parametrize("pack", [False, True])
def test_a_web_card_is_the_turn_that_was_drawn(
    folders: tuple[Path, Path], tmp_path: Path, pack: bool
) -> None:
    mixture = MixtureConfig(robot_share=0.3, cache=False, pack=pack)
    run, reading, intake = made(folders, tmp_path, mixture=mixture, longest=40)
    shown = cards(run, reading, intake, 24)["web.squares"]
    drawn = [pair for start in (0, 8, 16) for pair in intake.mixture(start, 8).web]
    assert len(shown) == len(drawn)
    for card, (_, number) in zip(shown, drawn, strict=True):
        told = intake.web[0].draw(number)
        assert card.lines == [(turn.prompt, turn.answer) for turn in told.turns]
        picture, name = card.pictures[0].astype(int), list(COLORS)[told.record % len(COLORS)]
        off = np.abs(picture - np.array(COLORS[name])).max(-1)
        for asked, said in card.lines:  # the answer is of the picture that is shown
            box = read_box(said, 8)
            if asked == "what color is it":
                assert said == name and off.min() < 10
            elif box is not None:
                x, y = (int(edge * len(picture)) for edge in box.centre)
                assert off[y, x] < 10


@pytest.mark.parametrize("pack", [False, True])
def test_filling_is_what_the_batches_hold(folders: tuple[Path, Path], tmp_path: Path, pack: bool) -> None:
    mixture = MixtureConfig(robot_share=0.3, cache=False, pack=pack)
    run, reading, intake = made(folders, tmp_path, mixture=mixture, longest=40)
    told = _filling(run, reading, intake, intake.web, 32)
    places = rows = counted = prompts = 0
    for start in range(0, 32, 8):
        batch = intake.batches.mixed(intake.mixture(start, 8), start)["web_batch"]
        filled = batch["answer_segment"] > 0 if pack else batch["answer_mask"]
        places += batch["text"].numel() + batch["answer"].numel()
        rows, counted = rows + len(filled), counted + int(batch["answer_mask"].sum())
        prompts += int(batch["text_mask"].sum() + filled.sum() - batch["answer_mask"].sum())
    assert told.answer == counted / rows and told.prompt == prompts / rows
    assert told.padding == pytest.approx(1 - (counted + prompts) / places)
    assert told.turns == (3 if pack else 1)


@pytest.mark.parametrize(("longest", "expected"), [(40, "3.0 turns a row"), (8, "not possible: ")])
def test_the_account_says_both_ways_and_adds_up(
    folders: tuple[Path, Path], tmp_path: Path, longest: int, expected: str
) -> None:
    mixture = MixtureConfig(robot_share=0.25, cache=False)
    run, reading, intake = made(folders, tmp_path, mixture=mixture, longest=longest)
    rows = dict(account(run, reading, intake, 400))
    assert rows[str(folders[0])].startswith("100 of 400 samples, 25.0% (planned 25.0%)")
    assert rows["web.squares"].startswith("300 of 400 samples")
    skills = dict(part.split()[:2] for part in rows["skills"].split(", "))
    assert sum(map(int, skills.values())) == 100 and set(skills) == {"touch", "lift"}
    assert "1.0 turns a row" in rows["mixture.pack=false"]
    assert rows["mixture.pack=true would be"].startswith(expected)
    assert "0 of " in rows["damaged"]


def test_caches_are_those_that_the_training_asks_for(tmp_path: Path) -> None:
    """What was built beforehand is not built again: no file is new afterwards."""
    write_shards(samples(8), tmp_path / "squares")
    folders = write_dataset(tmp_path / "arm", [8, 6], size=32), tmp_path / "squares"
    run = config(folders, tmp_path / "run", mixture=MixtureConfig(cache=True))
    built = list(build_caches(run))
    assert [each.new for each in built] == [True] * 3 and all(each.bytes for each in built)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.u8")}
    assert sum(path.stat().st_size for path in files) == sum(each.bytes for each in built)
    draw(run, read(run), torch.device("cpu"))
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.u8")}
    assert [each.new for each in build_caches(run)] == [False] * 3


def test_a_page_says_everything_as_text() -> None:
    """What a web text holds never becomes markup."""
    evil = '<script>alert("x")</script>'
    card = Card([np.zeros((4, 8, 3), np.uint8)], [(evil, evil)], note=evil, captions=[evil])
    text = page(evil, evil, [Section(evil, [(evil, evil)], [card], [evil]), Section(evil, evil, [])])
    assert "<script" not in text and text.count(html.escape(evil, quote=False)[:12]) >= 9
