"""Speeds, each measured on its own: collection, roll-out, a policy's latency, training."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from policies import find_checkpoint, load
from policies.runtime.world import World
from vla.interfaces import Observation

__all__ = ["MEASURES", "Measure"]

Measure = Callable[..., dict[str, float]]
"""(world, policy, seconds, batch, threads) -> numbers by name; the unit is the name's ending."""


def collect(world: World, policy: str, seconds: float, batch: int, threads: int) -> dict[str, float]:
    """Environment steps a second on one core, with both cameras, the expert and writing the dataset."""
    from policies.runtime.collection import Collection, Collector

    with tempfile.TemporaryDirectory() as folder:
        # The merge at the end counts too, so the number of episodes is fixed from a first, short look.
        trial = Collector(Collection(world), Path(folder) / "trial", 5)
        start = time.perf_counter()
        steps = sum(done.steps for done in trial.run(1))
        episodes = max(5, round(5 * seconds / (time.perf_counter() - start)))
        collector = Collector(Collection(world, seed=1), Path(folder) / "data", episodes)
        start = time.perf_counter()
        steps = sum(done.steps for done in collector.run(1))
        return {"collection_steps_per_s_core": steps / (time.perf_counter() - start)}


def rollout(world: World, policy: str, seconds: float, batch: int, threads: int) -> dict[str, float]:
    """Environment steps a second on one core with the policy acting, four environments side by side."""
    from policies.runtime.rollout import Rollout, cases_of, roll_out_here

    _one_thread()
    acting = load(policy)
    how = Rollout(world, policy)
    start, steps = time.perf_counter(), 0
    for result in roll_out_here(acting, how, cases_of(world, 1000, 0)):
        steps += result.steps
        if time.perf_counter() - start > seconds:
            break
    return {"rollout_steps_per_s_core": steps / (time.perf_counter() - start)}


def latency(world: World, policy: str, seconds: float, batch: int, threads: int) -> dict[str, float]:
    """Milliseconds from an observation to a chunk, one at a time on one core."""
    _one_thread()
    acting = load(policy)
    acting.reset(1)
    env = world.make("seen")
    observations = [Observation.from_dict(env.reset(seed=seed)[0]) for seed in range(8)]
    env.close()
    times: list[float] = []
    while sum(times) < seconds and len(times) < 1000:
        start = time.perf_counter()
        acting.act([observations[len(times) % len(observations)]], [0])
        times.append(time.perf_counter() - start)
    p50, p99 = np.percentile(1000 * np.array(times[3:] or times), [50, 99])
    return {"latency_p50_ms": float(p50), "latency_p99_ms": float(p99)}


def train(world: World, policy: str, seconds: float, batch: int, threads: int) -> dict[str, float]:
    """Training samples a second (forward, backward, AdamW) on pictures that are already in memory."""
    import torch

    from vla.describe import dummy_batch
    from vla.pretrained import load as load_model
    from vla.training.config import OptimConfig, TrainerConfig
    from vla.training.optim import build_optimizer

    torch.set_num_threads(threads)
    model, _ = load_model(find_checkpoint(policy))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = TrainerConfig(samples=1).uses_bf16()  # as `vla train` chooses
    model.to(device).train()
    optimizer = build_optimizer(model, OptimConfig(lr=1e-5))
    data = dummy_batch(model.config, batch, device=str(device))
    done, start = 0, time.perf_counter()
    warm = 2
    while done <= warm or time.perf_counter() - start < seconds:
        if done == warm:
            start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss, _ = model.loss(data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        done += 1
    return {"training_samples_per_s": (done - warm) * batch / (time.perf_counter() - start)}


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


MEASURES: dict[str, Measure] = {"collect": collect, "rollout": rollout, "latency": latency, "train": train}
