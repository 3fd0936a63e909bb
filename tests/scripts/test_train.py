"""The command itself, on the debug experiment: two steps, kill -9 and resume, mistakes in one line."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from safetensors.torch import load_file

from scripts.train import Train
from vla.config import compose, load_config
from vla.configuration import AugmentConfig, VLAConfig
from vla.errors import BadInput
from vla.folders import output_folder
from vla.structured import to_dataclass
from vla.training.config import OptimConfig, ReadingConfig, TrainerConfig

ROOT = Path(__file__).parents[2]
FAST = ["experiment=tabletop_debug"]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "scripts/train.py", *FAST, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished debug run, with its dataset beside it."""
    folder = tmp_path_factory.mktemp("train")
    code, out, err = finish(start(f"out={folder}/run", f"data={folder}/data"))
    assert code == 0, err
    assert "collecting 2 demonstrations" in out and "trained policy" in out
    return folder


def test_debug_experiment_writes_a_policy_and_logs(first: Path) -> None:
    policy = first / "run" / "policy"
    names = {path.name for path in policy.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "statistics.json", "README.md"} <= names
    lines = [json.loads(line) for line in (first / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["samples"] for line in lines] == [8, 16]
    assert not list(first.rglob("*.pt")) and not list(first.rglob("*.pkl"))


def test_killed_run_resumes_to_the_same_weights(first: Path) -> None:
    more = [f"data={first}/data", "trainer.samples=96", "trainer.save_every=16"]
    whole, cut = first / "whole", first / "cut"
    code, _, err = finish(start(f"out={whole}", *more))
    assert code == 0, err
    process = start(f"out={cut}", *more)
    deadline = time.monotonic() + 120
    while not list((cut / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
    shutil.rmtree(cut / "policy", ignore_errors=True)
    code, out, err = finish(start(f"out={cut}", *more))
    assert code == 0, err
    assert "resumed at step" in out
    one = load_file(whole / "policy" / "model.safetensors")
    two = load_file(cut / "policy" / "model.safetensors")
    assert one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)
    raw = [
        load_file(max((run / "checkpoints").glob("step-*")) / "training.safetensors") for run in (whole, cut)
    ]
    assert all(raw[0][name].equal(raw[1][name]) for name in raw[0])


def one_line(*arguments: str) -> str:
    code, _, err = finish(start(*arguments))
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("train.py: ")]
    assert len(lines) == 1 and "Traceback" not in err
    return lines[0]


def test_unknown_key_says_did_you_mean(first: Path) -> None:
    assert "did you mean 'trainer.samples'" in one_line("trainer.sample=3", f"out={first}/x")


def test_divergence_is_one_line(first: Path) -> None:
    text = one_line(
        f"out={first}/nan", f"data={first}/data", "trainer.optim.lr=1e30", "trainer.optim.warmup=0",
        "trainer.samples=800",
    )  # fmt: skip
    assert "diverged" in text and "trainer.optim.lr" in text


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.sample=3", "did you mean 'trainer.samples'"),
        ("trainer.batch=many", "trainer.batch"),
        ("trainer.optim.schedule=wds", "did you mean 'wsd'"),
        ("model=tabletop_smal", "did you mean 'tabletop_small'"),
        ("experiment=tabletop_debg", "did you mean 'tabletop_debug'"),
        ("model.backbone.width=33", "backbone"),
        ("reading.validation=2", "validation"),
        ("trainer.threads=-2", "threads=-2: at least 0"),
        ("trainer.log_every=-5", "log_every=-5: at least 0"),
        ("trainer.max_minutes=-1", "max_minutes must be above 0"),
        ("trainer.optim.betas=[2,3]", "betas must be in [0, 1)"),
        ("trainer.optim.eps=-1", "eps must be above 0"),
        ("trainer.optim.lr=nan", "lr, clip and eps"),
        ("reading.weights=[-1]", "must be at least 0, not -1"),
        ("reading.validation_samples=0", "validation_samples=0: at least 1"),
        ("+reading.skill_weights.touhc=3", "did you mean 'touch'"),
        ("rollouts.episodes=-1", "rollouts: episodes=-1"),
        ("rollouts.skills=[tuch]", "did you mean 'touch'"),
        ("demonstrations=-1", "demonstrations=-1"),
        ("seed=-1", "seed=-1: a whole number from 0"),
        ("seed=16777216", "seed=16777216: a whole number from 0"),
        ("model.backbone.heads=0", "heads=0: at least 1"),
        ("model.text.heads=3", "text.width"),
        ("model.decoder.horizon=0", "horizon=0: at least 1"),
        ("model.decoder.tokenizer.count=1", "count=1: at least 2"),
        ("augment.shift=-4", "shift=-4: at least 0"),
        ("data=", "'data' must be"),
        ("init=", "'init' must be a path"),
    ],
)
def test_config_mistakes(override: str, expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_config("train", [override], Train)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["tabletop", "tabletop_gpu", "tabletop_debug"])
def test_experiments_are_valid(name: str) -> None:
    config = load_config("train", [f"experiment={name}"], Train)
    assert config.out == Path("outputs/train") / name


def test_several_folders_and_one(tmp_path: Path) -> None:
    assert load_config("train", ["data=a"], Train).data_folders == (Path("a"),)
    assert load_config("train", ["data=[a,b]"], Train).data_folders == (Path("a"), Path("b"))


def test_config_files_list_every_setting() -> None:
    """So that each can be given on the command line; and the model's file holds the code's defaults."""
    composed = compose("train").model
    assert OmegaConf.to_container(composed) == VLAConfig().to_dict()
    train = yaml.safe_load((ROOT / "conf/train.yaml").read_text())
    assert train["augment"] == dataclasses.asdict(AugmentConfig())
    assert train["reading"].keys() == dataclasses.asdict(ReadingConfig()).keys()
    trainer = yaml.safe_load((ROOT / "conf/trainer/cpu.yaml").read_text())
    assert trainer.keys() == dataclasses.asdict(TrainerConfig(samples=1)).keys()
    assert trainer["optim"].keys() == dataclasses.asdict(OptimConfig()).keys()


@pytest.mark.parametrize(
    "file", sorted((ROOT / "conf/model").glob("*/*.yaml")), ids=lambda f: f"{f.parent.name}/{f.stem}"
)
def test_every_choice_of_a_part_is_a_config_of_it(file: Path) -> None:
    """Each file of a group, alone in its place, makes the config it is meant to be."""
    group, name = file.parent.name, file.stem
    more = {
        "native": ["model/cameras=patches"],
        "vlm": ["model/cameras=patches", "model/backbone=transformers"],
        "own_size": ["model/encoder=tower"],
        "backbone": ["model/backbone=transformers"],
        "fast": ["model/decoder=autoregressive"],
        "prismatic": ["model.image.cameras=[{name: front, size: 224, points: 0, grid: 0}]"],
    }.get(name, [])
    if (group, name) == ("tokenizer", "none"):
        more = ["model/decoder=flow"]
    if (group, name) == ("fusion", "native"):
        more = ["model/encoder=native", *more]
    raw = OmegaConf.to_container(compose("train", [f"model/{group}={name}", *more]).model)
    raw = json.loads(json.dumps(raw).replace("???", "somewhere"))
    config = to_dataclass(raw, VLAConfig)
    parts = {"encoder": config.image.encoder, "cameras": config.image}
    parts["tokenizer"] = getattr(config.decoder, "tokenizer", None)
    part = parts.get(group, getattr(config, group, None))
    own = yaml.safe_load(file.read_text())
    if name == "none":
        assert part is None
        return
    assert own.get("kind", getattr(part, "kind", None)) == getattr(part, "kind", None)
    # ...and lists every setting, so that each can be given on the command line.
    optional = {"config", "dino", "siglip", "tokenizer"}  # the last has a group of its own
    fields = {f.name for f in dataclasses.fields(part)} - optional  # type: ignore[arg-type]
    assert group == "cameras" or fields <= own.keys()


def test_nothing_left_to_train_on_and_two_runs_at_once_are_one_line(first: Path) -> None:
    more = [f"data={first}/data", f"out={first}/none"]
    assert "is left to train on" in one_line("+reading.skill_weights.touch=0", *more)
    with output_folder(first / "none"):
        assert "another run is writing into" in one_line(*more)
