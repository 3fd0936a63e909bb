"""The shipped settings are those of the dataclass, and mistakes in a file are one line with their place."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import conf
from policies.runtime.safety import JointLimits, Obstacle, Safety, StopSources, Workspace
from policies.runtime.safety.stop import DEFAULT_PORT
from vla.errors import BadInput
from vla.structured import to_dataclass

FOLDER = Path(conf.__file__).parent / "safety"


def read(name: str) -> Any:
    config = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    assert isinstance(config, dict)
    config.pop("defaults", None)
    return config


def test_the_default_file_says_what_the_dataclass_does() -> None:
    stop = StopSources(file=Path("outputs/STOP"), port=DEFAULT_PORT)
    assert to_dataclass(read("default"), Safety) == Safety(stop=stop)


def test_careful_is_tighter_in_everything_it_says() -> None:
    careful = to_dataclass({**read("default"), **read("careful")}, Safety)
    for name in read("careful"):
        wider = name in ("ramp_seconds", "margin")
        assert (getattr(careful, name) > getattr(Safety(), name)) == wider


def test_a_whole_file() -> None:
    given = {
        "joints": {"elbow_flex": {"upper": 60, "speed": 40}},
        "workspace": {"lower": [-0.1, -0.3, 0], "upper": [0.5, 0.3, 0.6]},
        "obstacles": [{"name": "stand", "centre": [0.4, 0.2, 0.1], "size": [0.1, 0.1, 0.2], "yaw": 30}],
        "stop": {"keys": "", "port": 0},
    }
    safety = to_dataclass(given, Safety, "safety")
    assert safety.joints == {"elbow_flex": JointLimits(upper=60.0, speed=40.0)}
    assert safety.workspace == Workspace((-0.1, -0.3, 0.0), (0.5, 0.3, 0.6))
    assert safety.obstacles == (Obstacle("stand", (0.4, 0.2, 0.1), (0.1, 0.1, 0.2), 30.0),)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"enabled": False}, "enabled"),
        ({"speed_scale": 3}, "speed_scale=3.0: a number above 0 and at most 1"),
        ({"joints": {"a": {"sped": 1}}}, r"did you mean 'speed'\?"),
        ({"joints": {"a": {"speed": -1}}}, "speed=-1.0"),
        ({"workspace": {"lower": [0, 0, 1], "upper": [1, 1, 0]}}, "is not below"),
        (
            {"obstacles": [{"name": "a", "centre": [0, 0, 0], "size": [1, 0, 1]}]},
            "obstacle 'a': lengths above 0",
        ),
        ({"margin": float("inf")}, "margin=inf"),
        ({"table": float("nan")}, "table=nan"),
        ({"stop": {"port": 70000}}, "stop.port=70000"),
        ({"poses": 1}, "poses=1"),
    ],
)
def test_mistakes_are_one_line(given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        to_dataclass(given, Safety, "safety")
    assert "\n" not in str(caught.value)
