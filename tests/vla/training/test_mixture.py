"""Robots and picture-text data in one training: what is drawn, that cuts change nothing, that it learns."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

for _folder in ("", "data"):
    sys.path.insert(0, str(Path(__file__).parents[1] / _folder))

from synthetic_episodes import write_dataset
from tiny import tiny_config

from vla.answers import say
from vla.configuration import AugmentConfig, FlowConfig, PartConfig, TuningConfig
from vla.configuration.answer import AnswerConfig
from vla.configuration.web import ShardsConfig
from vla.data.web.sample import Box, Turn, WebSample
from vla.data.web.shards_writer import write_shards
from vla.errors import BadInput
from vla.model import VLA
from vla.pretrained import load
from vla.training.config import OptimConfig, ReadingConfig, TrainerConfig
from vla.training.mixing import MixtureConfig, StageConfig
from vla.training.run import run
from vla.training.run_config import RunConfig

COLORS = {"red": (200, 20, 20), "green": (20, 160, 20), "blue": (20, 20, 200), "white": (240, 240, 240)}


def samples(count: int) -> list[WebSample]:
    """A coloured square on grey: what colour, and where."""
    rng, made = np.random.default_rng(0), []
    for number in range(count):
        name = list(COLORS)[number % len(COLORS)]
        picture = np.full((32, 32, 3), 90, np.uint8)
        x, y = rng.integers(2, 18, 2)
        picture[y : y + 10, x : x + 10] = COLORS[name]
        box = Box(x / 32, y / 32, (x + 10) / 32, (y + 10) / 32)
        turns = (
            Turn("what color is it", name),
            Turn(f"where is the {name} square", "{box}", (box,)),
            Turn("", f"a {name} square"),
        )
        made.append(WebSample((picture,), turns))
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("mixture")
    write_shards(samples(40), place / "squares", per_shard=16)
    return write_dataset(place / "arm", [8, 6, 7, 9], size=32), place / "squares"


def config(folders: tuple[Path, Path], out: Path, samples: int = 32, **more: Any) -> RunConfig:
    model = tiny_config(128, answer=AnswerConfig(max_length=12, locations=8), **more.pop("model", {}))
    squares = ShardsConfig(path=str(folders[1]), split=0.2, prompts=("describe it", "what is this"))
    trainer = TrainerConfig(
        samples=samples,
        batch=8,
        device="cpu",
        threads=1,
        bf16=False,
        trackers=(),
        log_every=8,
        validate_every=16,
        save_every=16,
        rollout_every=0,
        optim=OptimConfig(lr=3e-3, warmup=8, ema=0.5),
    )
    settings: dict[str, Any] = {
        "reading": ReadingConfig(workers=1, validation=0.0),
        "mixture": MixtureConfig(cache=False, scored=8),
        "augment": AugmentConfig(shift=1),
        "web": {"squares": squares},
    }
    return RunConfig(folders[0], trainer, out, model, **{**settings, **more})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return VLA.from_pretrained(folder).state_dict()


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["train/loss"] for row in rows if "train/loss" in row]


@pytest.mark.parametrize("decoder", [None, FlowConfig(horizon=4, mlp=32)], ids=["bins", "flow"])
@pytest.mark.parametrize("pack", [False, True], ids=["turns", "packed"])
def test_stopped_or_cut_it_is_the_same_training(
    folders: tuple[Path, Path], tmp_path: Path, decoder: FlowConfig | None, pack: bool
) -> None:
    """Every step in four portions: the same losses. Gone on from the middle: the same weights, every bit."""
    model = {} if decoder is None else {"decoder": decoder}
    mixture = MixtureConfig(robot_share=0.4, cache=False, scored=4, pack=pack)
    whole = config(folders, tmp_path / "whole", model=model, mixture=mixture)
    run(whole)
    cut = dataclasses.replace(
        whole, out=tmp_path / "cut", trainer=dataclasses.replace(whole.trainer, accumulate=4)
    )
    run(cut)
    one, other = losses(tmp_path / "whole"), losses(tmp_path / "cut")
    assert len(one) == 4
    np.testing.assert_allclose(one, other, rtol=1e-5)
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped/policy")
    shutil.rmtree(tmp_path / "stopped/checkpoints/step-000000004")
    (tmp_path / "stopped/checkpoints/best.json").unlink(missing_ok=True)
    run(dataclasses.replace(whole, out=tmp_path / "stopped"))
    ended = weights(tmp_path / "stopped/policy")
    for name, value in weights(tmp_path / "whole/policy").items():
        assert torch.equal(ended[name], value), name


def test_what_was_drawn_is_told(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config(folders, tmp_path, mixture=MixtureConfig(robot_share=0.75, cache=True, scored=8)))
    printed = capsys.readouterr().out
    assert "web squares: " in printed and "vqa/squares" in printed
    table = printed[printed.index("drawn ") :].splitlines()
    counts = {line.split()[0]: int(line.split()[1]) for line in table[1:3]}
    assert sum(counts.values()) == 32 and abs(counts["arm"] - 24) <= 1
    assert "0 of " in table[3] and "damaged" in table[3]


@pytest.mark.slow
def test_it_learns_to_answer(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Colours of squares, told from the picture alone: the question is the same for all."""
    asked = [dataclasses.replace(each, turns=each.turns[:1]) for each in samples(8)]
    write_shards(asked, tmp_path / "colors")
    source = {"colors": ShardsConfig(path=str(tmp_path / "colors"))}
    mixture = MixtureConfig(0.1, cameras="first", scored=0)
    run(config(folders, tmp_path / "run", samples=2400, mixture=mixture, web=source, augment=None))
    model, processor = load(tmp_path / "run/policy")
    said = [say(model, processor, each.images[0], each.turns[0].prompt) for each in asked]
    assert said == [each.turns[0].answer for each in asked]


def test_stages_go_on_from_each_other(folders: tuple[Path, Path], tmp_path: Path) -> None:
    frozen = PartConfig(train="frozen")
    stages = (
        StageConfig("align", 16, 0.0, TuningConfig(vision=frozen, language=frozen, rest=frozen)),
        StageConfig("tune", 16, 1.0, lr=0.5),
    )
    final = run(config(folders, tmp_path, stages=stages))
    assert final == tmp_path / "policy"
    first, last = weights(tmp_path / "1-align/policy"), weights(final)
    assert all(torch.equal(value, weights(tmp_path / "2-tune/policy")[name]) for name, value in last.items())
    moved = {name for name, value in last.items() if not torch.equal(value, first[name])}
    assert any("backbone" in name for name in moved)
    again = run(config(folders, tmp_path, stages=stages))  # complete: nothing is trained anew
    assert again == final


def test_mistakes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    good = config(folders, tmp_path)
    with pytest.raises(BadInput, match="model/answer=words"):
        dataclasses.replace(good, model=tiny_config(128))
    with pytest.raises(BadInput, match="two stages"):
        dataclasses.replace(good, stages=(StageConfig("a", 1), StageConfig("a", 1)))
    long = dataclasses.replace(good, model=dataclasses.replace(good.model, answer=AnswerConfig(max_length=2)))
    with pytest.raises(BadInput, match="damaged"):
        run(long)
    with pytest.raises(BadInput, match="robot_share"):
        MixtureConfig(robot_share=1.5)
    with pytest.raises(BadInput, match="temperature"):
        MixtureConfig(temperature=0.5)
