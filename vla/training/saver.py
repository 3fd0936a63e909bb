"""Between a training's state and its checkpoints: what is saved, and whether a saved run is this one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from vla.errors import BadInput
from vla.training.checkpoint import Checkpoints
from vla.training.distributed import everywhere, processes, rank
from vla.training.engine import Engine, Sharded
from vla.training.optim import Ema
from vla.training.state import pack, unpack

__all__ = ["Diverged", "Saver"]


class Diverged(BadInput):
    """Loss or gradient is not finite; the last good checkpoint is kept."""


class Saver:
    """Saves and restores weights, their average and the optimiser's state. Every process calls its
    methods."""

    def __init__(
        self,
        engine: Engine,
        optimizer: torch.optim.Optimizer,
        ema: Ema | None,
        checkpoints: Checkpoints,
        save_policy: Callable[[nn.Module, Path], None],
    ) -> None:
        self._engine, self._optimizer, self._checkpoints = engine, optimizer, checkpoints
        self._average = None if ema is None else ema.model
        self._save_policy = save_policy

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint. Raises Diverged where a number is not finite: a checkpoint is always a good
        one."""
        model = self._engine.model
        pieces, rarer = pack(model, self._average, self._optimizer, step)
        bad = [name for name, (tensor, _) in pieces.items() if not torch.isfinite(tensor).all()]
        if not everywhere(not bad):
            where = f"'{bad[0]}'" if bad else "what another process holds"
            raise Diverged(f"diverged before step {step}: {where} is not finite; not saved")
        policy = self._engine.complete(model if self._average is None else self._average)
        shares = processes() if isinstance(self._engine, Sharded) else 1
        self._checkpoints.save(
            step,
            pieces if rank() < shares else None,
            {**state, "optimizer_steps": rarer} if rarer else state,
            lambda folder: self._save_policy(cast(nn.Module, policy), folder),
            shares,
        )

    def resume(self, identity: Mapping[str, Any], out: Path) -> dict[str, Any] | None:
        """Put back the newest checkpoint; returns its state, or None where there is none. Raises BadInput for
        one of another run: of other settings, or of another architecture."""
        found = self._checkpoints.open_latest()
        if found is None:
            return None
        with found[0] as saved:
            state = found[1]
            _check_identity(state.get("identity", {}), identity, out)
            unpack(saved, state, self._engine.model, self._average, self._optimizer)
        return state


def _check_identity(saved: Mapping[str, Any], own: Mapping[str, Any], out: Path) -> None:
    """Raise BadInput naming the first setting that differs between the saved run and this one: a kind before
    any other, as the settings that another kind does not have differ only because it does."""
    for name in sorted({*saved, *own}, key=lambda name: (name.rpartition(".")[2] != "kind", name)):
        # An empty mapping is told as one that is not there: its keys would be other names.
        was, now = (None if given.get(name) == {} else given.get(name) for given in (saved, own))
        if was != now:
            other = f"{out} holds a run with other settings ({name} was {was!r}, is {now!r})"
            raise BadInput(f"{other}; give another out=, or delete that folder")
