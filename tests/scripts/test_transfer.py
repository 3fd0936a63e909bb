"""The experiment itself, tiny, from data to table; and again, which must change nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.train import Train
from scripts.transfer import Transfer
from vla.config import load_config
from vla.errors import BadInput

ROOT = Path(__file__).parents[2]


def command(tmp_path: Path, *more: str) -> list[str]:
    places = [
        f"demonstrations.out={tmp_path}/data",
        f"pictures.out={tmp_path}/pictures",
        f"out={tmp_path}/out",
    ]
    return [sys.executable, "scripts/transfer.py", "transfer=debug", *places, *more]


@pytest.mark.slow
def test_from_data_to_table_and_on(tmp_path: Path) -> None:
    ran = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "out" / "test.md").read_text()
    assert "| success | seen | unseen colors |" in page and page.count("both at once") >= 3
    assert (tmp_path / "out" / "test.png").is_file()
    told = json.loads((tmp_path / "out" / "test.json").read_text())
    assert {arm: share["seen"]["of"] for arm, share in told["arms"].items()} == dict.fromkeys(told["arms"], 2)
    assert list(told["arms"]) == ["robot", "pretrained", "cotrained"]
    # The three policies read the same words.
    policies = [tmp_path / "out" / arm / "seed0" / "train" / "policy" for arm in told["arms"]]
    assert len({(policy / "tokenizer.json").read_bytes() for policy in policies}) == 1

    # A lost number is found again; nothing that is there is made anew, not even where its data is gone.
    before = json.loads((tmp_path / "out" / "robot" / "seed0" / "test-seen.json").read_text())
    (tmp_path / "out" / "robot" / "seed0" / "test-seen.json").unlink()
    (tmp_path / "data").rename(tmp_path / "gone")
    ran = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert "$ vla" not in ran.stdout and (tmp_path / "out" / "test.md").read_text() == page
    assert json.loads((tmp_path / "out" / "robot" / "seed0" / "test-seen.json").read_text()) == before

    ran = subprocess.run(
        command(tmp_path, "budget.samples=24"), cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 2
    (line,) = ran.stderr.strip().splitlines()
    assert "trainer.samples=16" in line and "give another out=" in line


@pytest.mark.parametrize("name", ["full", "debug"])
def test_every_arm_is_a_valid_training(name: str) -> None:
    config = load_config("transfer", [f"transfer={name}"], Transfer)
    for arm in config.arms.values():
        train = load_config(
            "train", [*config.shared()["train"], *arm.training(config.budget), "out=x"], Train
        )
        assert train.env.vocabulary == "extended" and train.model.answer is not None
        assert str(train.web["pictures"].path) == str(config.pictures.out / "train")
        assert train.data_folders == (config.demonstrations.out,)


def test_recipes_are_chosen_on_other_scenes_and_pictures() -> None:
    test, choose = (load_config("transfer", [f"phase={phase}"], Transfer) for phase in ("test", "choose"))
    span = test.episodes
    assert not set(range(test.scenes, test.scenes + span)) & set(range(choose.scenes, choose.scenes + span))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seeds=[1,1]", "seeds must name at least one, and none twice"),
        ("splits=[]", "splits must name"),
        ("splits=[unseen]", "unseen"),
        ("env=tabletop", "env=transfer"),
        ("arms.cotrained.robot_share=0", "robot_share must be above 0"),
        ("budget.samples=0", "samples=0"),
    ],
)
def test_mistakes_are_one_line(override: str, line: str) -> None:
    with pytest.raises(BadInput, match=line) as caught:
        load_config("transfer", [override], Transfer)
    assert "\n" not in str(caught.value)
