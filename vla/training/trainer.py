"""The training loop: batches in, checkpoints out. It knows no dataset format, no simulator and no policy.

Every random choice is a function of (seed, sample number), so a run that is killed and started again goes
through the same batches and the same dropout, and reaches bitwise the same weights (on one machine, and
without a time budget, whose schedule follows the clock).
"""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from torch import nn

from vla.data.batches import Prefetcher
from vla.errors import BadInput
from vla.folders import output_folder
from vla.training.checkpoint import POLICY, Checkpoints, pack, replace_folder, unpack
from vla.training.config import TrainerConfig
from vla.training.meter import Meter
from vla.training.optim import Ema, build_optimizer, lr_factor
from vla.training.progress import Progress, clock

__all__ = ["Batches", "Diverged", "Trainer"]

Batch = Mapping[str, Any]
Batches = Callable[[int], Batch]
"""Number of a batch's first sample -> the batch."""
Loss = Callable[[Batch], tuple[torch.Tensor, Batch]]


class Diverged(BadInput):
    """Loss or gradient is not finite; the last good checkpoint is kept."""


class Trainer:
    """Trains `model`, whose ``loss(batch)`` gives (loss, scalars).

    batches: makes a training batch. validation: fixed batches for the validation loss. save_policy: writes
    the model folder. roll_out: (policy folder, step) -> scalars, e.g. {"success_rate": 0.8}. identity: what
    must be equal for a checkpoint in `out` to be of this run.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        config: TrainerConfig,
        out: Path,
        *,
        save_policy: Callable[[nn.Module, Path], None],
        seed: int = 0,
        validation: Callable[[], Iterator[Batch]] | None = None,
        roll_out: Callable[[Path, int], Mapping[str, float]] | None = None,
        identity: Mapping[str, Any] | None = None,
        prefetch: int = 2,
    ) -> None:
        self.config, self.out, self.seed = config, out, seed
        self.batches, self.validation, self.roll_out = batches, validation, roll_out
        self.save_policy = save_policy
        self.identity = dict(identity or {})
        self.prefetch = prefetch
        self.device = config.torch_device()
        if config.threads:
            torch.set_num_threads(config.threads)
        self._bf16 = config.uses_bf16()
        self.model = model.to(self.device)
        self.optimizer = build_optimizer(self.model, config.optim)
        self.ema = Ema(self.model, config.optim.ema) if config.optim.ema else None
        self.loss = cast(Loss, model.loss)
        if config.compile:
            self.loss = torch.compile(self.loss)
        self.checkpoints = Checkpoints(out / "checkpoints", config.keep)
        self.step = 0
        self.elapsed = 0.0  # seconds trained by earlier processes of this run
        self._stop: int | None = None
        self._saved_step = -1

    @property
    def samples(self) -> int:
        """Training samples seen so far."""
        return self.step * self.config.batch

    @property
    def total_steps(self) -> int:
        """Steps in the budget of samples."""
        return -(-self.config.samples // self.config.batch)

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> Path:
        """Train to the end of the budget, resuming if `out` holds checkpoints; returns the policy folder."""
        with output_folder(self.out):
            return self._run()

    def _run(self) -> Path:
        self._resume()
        progress = Progress(self.out, self.step, self.config.tensorboard)
        started = time.monotonic()
        prefetcher = Prefetcher(self.batches, self.samples, self.config.batch, self.prefetch)
        try:
            with self._signals():
                self._loop(prefetcher, progress, started)
        finally:
            prefetcher.close()
            progress.close()
        policy = self.out / POLICY
        replace_folder(self.checkpoints.path(self._saved_step) / POLICY, policy)
        return policy

    def _loop(self, prefetcher: Prefetcher, progress: Progress, started: float) -> None:
        meter = Meter(self.device)
        self.model.train()
        earlier = self.elapsed
        share = self._share()
        if self.step:
            progress.say(f"resumed at step {self.step:,}, sample {self.samples:,} of {self.config.samples:,}")
        while share < 1.0 and self.step < self.total_steps:
            with meter.waiting():
                batch = next(prefetcher)
            loss, norm, scalars = self._train_step(batch, share)
            meter.add(loss, norm, scalars, self.config.batch)
            if self.device.type == "cpu" and not math.isfinite(loss.item() + norm.item()):
                raise self._diverged(loss.item(), norm.item())
            self.step += 1
            self.elapsed = earlier + time.monotonic() - started
            share = self._share()
            last = share >= 1.0 or self.step >= self.total_steps
            if last or self._due(self.config.log_every):
                self._report(meter, progress, share)
            if self._stop is not None:
                self._save()
                name = signal.Signals(self._stop).name
                raise KeyboardInterrupt(f"stopped by {name} at step {self.step}; the same command goes on")
            self._periodic(progress, last)
            self.elapsed = earlier + time.monotonic() - started
            meter.restart_clock()
        if self._saved_step < 0:  # resumed a run that was already complete
            self._saved_step = self.step

    def _train_step(self, batch: Batch, share: float) -> tuple[torch.Tensor, torch.Tensor, Batch]:
        config = self.config.optim
        torch.manual_seed((self.seed << 40) + self.step)  # dropout and augmentation restart from a counter
        factor = lr_factor(config, self.samples, share)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * factor * group["lr_factor"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            loss, scalars = self.loss(_to(batch, self.device))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.model.parameters(), self.model.buffers(), self.step)
        return loss.detach(), norm.detach(), scalars

    def _share(self) -> float:
        """0..1: how much of the run is done, by samples or by time, whichever is more."""
        share = self.step / self.total_steps
        if self.config.max_minutes:
            share = max(share, self.elapsed / (60.0 * self.config.max_minutes))
        return min(1.0, share)

    def _due(self, every: int) -> bool:
        """Whether this step has just passed a multiple of `every` samples."""
        return bool(every) and self.samples // every > (self.samples - self.config.batch) // every

    def _periodic(self, progress: Progress, last: bool) -> None:
        rolls = self.roll_out is not None and (last or self._due(self.config.rollout_every))
        validates = self.validation is not None and (last or self._due(self.config.validate_every))
        scores: dict[str, float] = {}
        if validates:
            scores["validation/loss"] = self._validation_loss()
        if rolls or last or self._due(self.config.save_every):
            self._save()
        if rolls and self.roll_out is not None:
            found = self.roll_out(self.checkpoints.path(self.step) / POLICY, self.step)
            scores |= {f"rollout/{name}": float(value) for name, value in found.items()}
            self.model.train()
        if scores:
            progress.scalars(self.step, self.samples, scores)
            progress.say("  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        self._offer_best(scores)

    def _offer_best(self, scores: Mapping[str, float]) -> None:
        """Roll-outs decide which checkpoint is best; the validation loss where there are none."""
        if self._saved_step != self.step:
            return
        if "rollout/success_rate" in scores:
            value = scores["rollout/success_rate"]
            self.checkpoints.offer_best(self.step, "rollout/success_rate", value, higher=True)
        elif self.roll_out is None and "validation/loss" in scores:
            value = scores["validation/loss"]
            self.checkpoints.offer_best(self.step, "validation/loss", value, higher=False)

    @torch.no_grad()
    def _validation_loss(self) -> float:
        """Mean loss of the averaged weights over the fixed validation batches."""
        assert self.validation is not None
        model = self.ema.model if self.ema is not None else self.model
        model.eval()
        losses = []
        for batch in self.validation():
            torch.manual_seed(self.seed)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
                losses.append(cast(Loss, model.loss)(_to(batch, self.device))[0].item())
        self.model.train()
        return sum(losses) / max(1, len(losses))

    # -- telling -----------------------------------------------------------------------------------

    def _report(self, meter: Meter, progress: Progress, share: float) -> None:
        values = meter.take()
        if not math.isfinite(values["train/loss"] + values["train/grad_norm"]):
            raise self._diverged(values["train/loss"], values["train/grad_norm"])
        values["train/lr"] = self.config.optim.lr * lr_factor(self.config.optim, self.samples, share)
        left = (self.total_steps - self.step) * self.config.batch / values["speed/samples_per_second"]
        if self.config.max_minutes:
            left = min(left, 60.0 * self.config.max_minutes - self.elapsed)
        values["speed/seconds_left"] = left
        progress.scalars(self.step, self.samples, values)
        extra = f"  lr {values['train/lr']:.1e}  trained {clock(self.elapsed)} ({share:.0%})"
        rate = values["speed/samples_per_second"]
        progress.line(self.step, self.samples, values["train/loss"], rate, left=left, extra=extra)

    def _diverged(self, loss: float, norm: float) -> Diverged:
        steps = self.checkpoints.steps()
        if steps:
            last = self.checkpoints.path(steps[-1])
            advice = f"the last good checkpoint is {last}: go on with init={last / POLICY}, another out= and"
        else:
            advice = "no checkpoint was written yet: try another out= and"
        lr = self.optimizer.param_groups[0]["lr"]
        return Diverged(
            f"training diverged by step {self.step + 1} (loss {loss:g}, gradient norm {norm:g}, "
            f"lr {lr:.2g}); {advice} a lower trainer.optim.lr"
        )

    # -- saving and resuming -----------------------------------------------------------------------

    def _save(self) -> None:
        if self._saved_step == self.step:
            return
        ema = self.ema.model if self.ema is not None else None
        tensors = pack(self.model, ema, self.optimizer)
        for name, value in tensors.items():  # a checkpoint is always a good one
            if not torch.isfinite(value).all():
                raise Diverged(f"diverged before step {self.step}: '{name}' is not finite; not saved")
        state = {"samples": self.samples, "elapsed": self.elapsed, "identity": self.identity}
        policy = ema if ema is not None else self.model
        self.checkpoints.save(self.step, tensors, state, lambda folder: self.save_policy(policy, folder))
        self._saved_step = self.step

    def _resume(self) -> None:
        found = self.checkpoints.load_latest(torch.device("cpu"))
        if found is None:
            return
        tensors, state = found
        _check_identity(state.get("identity", {}), self.identity, self.out)
        self.step, self.elapsed = int(state["step"]), float(state["elapsed"])
        unpack(tensors, self.step, self.model, self.ema.model if self.ema else None, self.optimizer)
        self._saved_step = self.step

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask the loop to save and leave; a second one interrupts at once."""

        def handler(number: int, frame: FrameType | None) -> None:
            if self._stop is not None:
                raise KeyboardInterrupt("stopped at once; the last checkpoint is whole")
            self._stop = number

        before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)


def _to(batch: Batch, device: torch.device) -> dict[str, Any]:
    """Tensors (also nested in dicts) on `device`; everything else as it is."""
    moved: dict[str, Any] = {}
    for name, value in batch.items():
        if isinstance(value, torch.Tensor):
            moved[name] = value.to(device, non_blocking=True)
        else:
            moved[name] = _to(value, device) if isinstance(value, Mapping) else value
    return moved


def _check_identity(saved: Mapping[str, Any], own: Mapping[str, Any], out: Path) -> None:
    """Raise BadInput naming the first setting that differs between the saved run and this one."""
    for name in sorted({*saved, *own}):
        # An empty mapping is told as one that is not there: its keys would be other names.
        was, now = (None if given.get(name) == {} else given.get(name) for given in (saved, own))
        if was != now:
            other = f"{out} holds a run with other settings ({name} was {was!r}, is {now!r})"
            raise BadInput(f"{other}; give another out=, or delete that folder")
