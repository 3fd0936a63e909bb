"""The load measurement and the soak, for seconds; and that they would see what they look for."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from policies.runtime.benchmark import serving_clients
from policies.runtime.benchmark.dialects import PROTOCOLS
from policies.runtime.benchmark.serving import Load, measure_serving
from policies.runtime.benchmark.serving_soak import Soak, soak_serving
from policies.serving.echo import EchoPolicy
from scripts.load import Options
from vla.config import load_config
from vla.errors import BadInput
from vla.interfaces import ActionChunk, Observation

SMALL = Load(seconds=0.5, warm=0.1, side=16, call_ms=20.0, each_ms=0.1, clients=(1, 6), batches=(8,))


@pytest.mark.slow
def test_every_protocol_is_measured_and_batches_are_made() -> None:
    lines: list[str] = []
    rows = [cell["found"] for cell in measure_serving(SMALL, lines.append)]
    assert [(row["protocol"], row["clients"]) for row in rows] == [(p, n) for p in PROTOCOLS for n in (1, 6)]
    assert lines[-1].startswith("| protocol | clients | batching |")
    for row in rows:
        assert row["crossed"] == row["lost"] == 0 and row["refused"] == {}
        assert row["mean_batch"] == 1 if row["clients"] == 1 else row["mean_batch"] > 1
    assert sum(row["requests"] for row in rows) > 20
    one = replace(SMALL, batches=(1,), clients=(4,), protocols=("native",))
    [row] = [cell["found"] for cell in measure_serving(one, lines.append)]
    assert row["mean_batch"] == 1.0 and 0 < row["p50_ms"] <= row["p99_ms"]


@pytest.mark.slow
def test_the_soak_loses_nothing_and_believes_no_damage() -> None:
    soak = Soak(minutes=0.08, clients=4, kill_s=1.0, damaged=0.3, load=SMALL)
    found = soak_serving(soak, lambda line: None)["found"]
    assert found["answers"] > 20 and found["damaged"] > 5 and found["killed"] >= 1
    assert found["lost"] == found["crossed"] == found["believed"] == found["sessions_left"] == 0
    assert found["memory_most_mib"] > 10 and found["memory_mib"]


class Crossing(EchoPolicy):
    """Gives each the answer of another, or of the question before."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.last: list[ActionChunk] = []

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        chunks = super().act(observations, which)
        out = [*self.last, *chunks][: len(chunks)]
        self.last = chunks[-1:]
        return out


def test_crossed_answers_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    from policies.serving.server import running

    @contextmanager
    def here(policy: str, limits: Any, *_: float) -> Any:
        with running(Crossing(), serving_clients.settings(limits)) as address:
            yield address, os.getpid()

    monkeypatch.setattr(serving_clients, "serving", here)
    load = Load(seconds=0.5, warm=0.0, side=8, clients=(3,), batches=(8,), protocols=("native",))
    [cell] = measure_serving(load, lambda line: None)
    assert cell["found"]["crossed"] > 0


def test_settings() -> None:
    config = load_config("load", [], Options)
    assert (config.load, config.soak) == (Load(), Soak())
    for bad in (
        "load.clients=[]",
        "load.batches=[0]",
        "load.protocols=[grpc]",
        "soak.minutes=0",
        "measure=[]",
    ):
        with pytest.raises(BadInput):
            load_config("load", [bad], Options)
    assert np.isfinite(config.soak.minutes)
