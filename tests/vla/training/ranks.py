"""Trainings by several processes, for tests: each a process of its own, as torchrun would start it.

`train` starts them and gives a deadlock a time limit. This file, run as a script, is one of them: it does the
jobs that its argument lists (JSON), one after another.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(
    jobs: Sequence[Mapping[str, Any]], count: int, port: int | None = None
) -> list[subprocess.Popen[str]]:
    """`count` processes that do the jobs together; with one it is a plain process."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port or free_port())}
    places = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)} for rank in range(count)]
    return [
        _process([__file__, json.dumps(jobs)], {**meeting, **place} if count > 1 else {}) for place in places
    ]


def torchrun(jobs: Sequence[Mapping[str, Any]], count: int) -> subprocess.Popen[str]:
    """The same by torch's own launcher."""
    how = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return _process([*how, __file__, json.dumps(jobs)], {})


def _process(arguments: list[str], variables: Mapping[str, str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def finish(processes: Sequence[subprocess.Popen[str]], limit: float = 400) -> list[tuple[int, str, str]]:
    """(status, stdout, stderr) of each; all are killed when the limit has passed."""
    try:
        told = [process.communicate(timeout=limit) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *texts) for p, texts in zip(processes, told, strict=True)]


def train(jobs: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    """Do the jobs; returns what each process printed. None may fail."""
    ended = finish(start(jobs, count))
    for status, _, errors in ended:
        assert status == 0, errors[-2000:]
    return [printed for _, printed, _ in ended]


def curve(out: Path) -> list[dict[str, float]]:
    """The numbers of a run that do not depend on the clock, line by line."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("speed/")} for line in lines]


def apart(one: Path, two: Path) -> float:
    """The largest difference between two runs' numbers, which must have the same names at the same steps."""
    first, second = curve(one), curve(two)
    assert [line.keys() for line in first] == [line.keys() for line in second] and first
    return max(abs(a[k] - b[k]) for a, b in zip(first, second, strict=True) for k in a)


# -- as one of the processes ---------------------------------------------------------------------------------


def _job(
    *,
    out: str,
    model: str = "counted",
    samples: int = 96,
    batch: int = 8,
    slow_from: int | None = None,
    fail: tuple[int, int] | None = None,
    **config: Any,
) -> None:
    """One training. slow_from: says when it comes to that sample, and is slow from then on. fail: (rank,
    sample) at which one process finds bad input; rank -1: all."""
    from vla.training.config import OptimConfig, TrainerConfig
    from vla.training.distributed import rank
    from vla.training.trainer import Trainer

    chosen = {name: config.pop(name) for name in ("schedule", "ema") if name in config}
    optim = OptimConfig(**{"lr": 2e-2, "warmup": 16, "ema": 0.9, "clip": 0.5, **chosen})
    usual = {"device": "cpu", "log_every": batch, "save_every": 4 * batch, "validate_every": 4 * batch}
    settings = TrainerConfig(samples, batch, trackers=(), optim=optim, **{"bf16": False, **usual, **config})
    net, make, validation, save, evaluate = _parts(model, batch)
    make = _disturbed(make, rank(), slow_from, fail)
    Trainer(
        net,
        make,
        settings,
        Path(out),
        save_policy=save,
        seed=3,
        validation=validation,
        evaluate=evaluate,
        identity={"batch": batch},
    ).run()


def _mean(model: torch.nn.Module) -> dict[str, float]:
    weights = torch.cat([parameter.flatten().float() for parameter in model.parameters()])
    return {"mean/weight": weights.mean().item()}


def _parts(model: str, batch: int) -> tuple[Any, Any, Any, Any, Any]:
    import toy

    if model in ("counted", "fair", "front"):
        most = 1 if model == "fair" else 4

        def validation(part: int, parts: int) -> Iterator[Any]:
            whole = [toy.mixed(6, most)(6 * number, 0, 1) for number in (101, 102, 103)]
            yield from whole[part::parts]

        make = toy.mixed(batch, most, front=model == "front")
        return toy.Counted(), make, validation, toy.save_policy, _mean
    import small_vla

    return small_vla.parts(model, batch)


def _disturbed(make: Any, rank: int, slow_from: int | None, fail: tuple[int, int] | None) -> Any:
    import time

    from vla.errors import BadInput

    def made(start: int, part: int, parts: int) -> Any:
        if slow_from is not None and start >= slow_from:
            if start == slow_from:
                print("there", file=sys.stderr, flush=True)
            time.sleep(0.05)
        if fail is not None and fail[0] in (rank, -1) and start >= fail[1]:
            raise BadInput(f"sample {fail[1]} is bad")
        return make(start, part, parts)

    return made


def _main() -> None:
    sys.path[:0] = [str(ROOT), str(HERE), str(HERE.parent)]
    from vla.errors import BadInput
    from vla.training.config import TrainerConfig
    from vla.training.distributed import running

    torch.set_num_threads(1)
    jobs = json.loads(sys.argv[1])
    first = {key: jobs[0][key] for key in ("batch", "accumulate", "engine") if key in jobs[0]}
    try:
        with running(TrainerConfig(1, **{"batch": 8, **first}, device="cpu")):
            for job in jobs:
                _job(**job)
    except BadInput as error:  # as a command answers
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(stop, file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    _main()
