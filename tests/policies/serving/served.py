"""What the tests of the server share: a policy that can be held up, settings, other environments."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from policies.serving.echo import EchoPolicy
from policies.serving.options import Keys, Limits, Rest, Serving, VlaEval
from vla.interfaces import ActionChunk, InFlight, Observation

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "0123456789-abcdef"
OPENPI = Keys(
    {"observation/image": "front", "observation/wrist_image": "wrist"}, state=("observation/state",)
)
EVAL = VlaEval(
    {"images/front": "front", "images/wrist": "wrist"}, state=("states",), prompt="task_description"
)
REST = Rest(
    {"image": "front", "wrist_image": "wrist"}, ("wrist_image",), state=("state",), prompt="instruction"
)


def settings(**more: object) -> Serving:
    """On any free port of this machine."""
    return Serving(**{"port": 0, "openpi": OPENPI, "vla_eval": EVAL, "rest": REST} | more)  # type: ignore[arg-type]


def limits(**more: object) -> Limits:
    """Short ones."""
    return Limits(**{"answer_s": 5.0, "send_s": 2.0, "stop_s": 5.0} | more)  # type: ignore[arg-type]


def seen(number: float, task: str = "touch the cube", side: int = 8) -> Observation:
    """An observation that no other number has."""
    rng = np.random.default_rng(int(number))
    pictures = {name: rng.integers(0, 256, (side, side, 3), np.uint8) for name in ("front", "wrist")}
    return Observation(pictures, np.array([number, 2, 3], np.float32), task)


class Gated(EchoPolicy):
    """Echoes when it is let to. Keeps the batches it was given; raises what `faults` says for a sentence."""

    def __init__(self, free: bool = False) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()
        self.batches: list[list[str]] = []
        self.lanes: list[list[int]] = []
        self.faults: dict[str, Exception] = {}
        self.spoilt: dict[str, float] = {}
        if free:
            self.gate.set()

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        self.entered.set()
        assert self.gate.wait(20)
        self.batches.append([each.task for each in observations])
        self.lanes.append(list(which))
        for each in observations:
            if each.task in self.faults:
                raise self.faults[each.task]
        chunks = super().act(observations, which)
        for each, chunk in zip(observations, chunks, strict=True):
            chunk.actions[1:] = self.spoilt.get(each.task, chunk.actions[1:])
        return chunks


class Everything:
    """A policy with all the protocols; keeps what it is told."""

    name, horizon, execute, watching, continues = "all", 2, 1, True, True

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []

    def reset(self, count: int) -> None:
        self.log.append(("reset", count))

    def begin(self, which: int, seed: int) -> None:
        self.log.append(("begin", which, seed))

    def forget(self, which: int) -> None:
        self.log.append(("forget", which))

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        self.log.append(("observe", *which, float(observations[0].state[0])))

    def act(
        self,
        observations: Sequence[Observation],
        which: Sequence[int],
        in_flight: Sequence[InFlight | None] | None = None,
    ) -> list[ActionChunk]:
        told = None if in_flight is None or in_flight[0] is None else in_flight[0].delay
        self.log.append(("act", *which, float(observations[0].state[0]), told))
        return [ActionChunk(np.zeros((2, 3), np.float32)) for _ in observations]


def peer(name: str) -> str:
    """The Python of another project's environment (scripts/peers makes them), else the test is skipped."""
    python = Path(os.environ.get("VLA_PEERS", ROOT / ".peers")) / name / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"the environment .peers/{name} is not made: see scripts/peers")
    return str(python)
