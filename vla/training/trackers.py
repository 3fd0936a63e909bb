"""Where a run's numbers go beside its own ``metrics.jsonl``: TensorBoard, Weights & Biases, trackio.

A run that is resumed goes on as the same run there. TensorBoard drops what the stopped run told after its
last checkpoint; the others cannot take a number back, so what they were told already is not told again.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from vla.errors import BadInput
from vla.folders import write_whole
from vla.optional import need
from vla.training.config import TrainerConfig

__all__ = ["Tracker", "open_trackers"]


class Tracker(Protocol):
    """Takes numbers by name, at a step."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def open_trackers(config: TrainerConfig, out: Path, start_step: int, told: int) -> list[Tracker]:
    """Those of a config. told: the last step that the run in `out`, if there is one, told anybody.

    Raises BadInput naming the extra where a library is missing, and where one will not start.
    """
    opening: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: _TensorBoard(out, start_step),
        "wandb": lambda: _WeightsAndBiases(config, out, told),
        "trackio": lambda: _Trackio(config, out, told),
    }
    return [opening[name]() for name in config.trackers]


class _TensorBoard:
    def __init__(self, out: Path, start_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start_step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._board.close()


class _WeightsAndBiases:
    """Modes and accounts are its own: ``WANDB_MODE=offline``, ``wandb login``."""

    def __init__(self, config: TrainerConfig, out: Path, told: int) -> None:
        wandb = need("wandb", "trackers", "trainer.trackers=[wandb]")
        name, number = _run(config, out)
        try:
            self._run = wandb.init(
                project=config.project,
                name=name,
                id=number,
                resume="allow",
                dir=str(out),
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(
                f"Weights & Biases did not start ({reason}): wandb login, or WANDB_MODE=offline"
            ) from None
        self._told = told

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if step > self._told:
            self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """Kept on this machine, under ``TRACKIO_DIR`` or the cache of Hugging Face, unless its own settings say
    otherwise. Its runs are known by their names, so a number is added to them."""

    def __init__(self, config: TrainerConfig, out: Path, told: int) -> None:
        trackio = need("trackio", "trackers", "trainer.trackers=[trackio]")
        self._run: Any = trackio.init(
            project=config.project,
            name="-".join(_run(config, out)),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        self._told = told

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if step > self._told:
            self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


def _run(config: TrainerConfig, out: Path) -> tuple[str, str]:
    """The run's name, and the number by which trackers know it again."""
    file = out / "run.json"
    if not file.is_file():
        write_whole(file, json.dumps({"id": secrets.token_hex(4)}) + "\n")
    try:
        number = str(json.loads(file.read_text())["id"])
    except (ValueError, KeyError, TypeError):
        raise BadInput(
            f"{file} does not say which run this is in the trackers: delete it to begin another"
        ) from None
    return config.run_name or out.resolve().name, number
