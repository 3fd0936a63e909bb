"""The training loop: batches in, checkpoints out. It knows no dataset format, no simulator and no policy.

Every random choice is a function of (seed, sample number), so a run that is killed and started again goes
through the same batches and the same dropout, and reaches bitwise the same weights (on one machine, and
without a time budget, whose schedule follows the clock).

A batch may be cut into portions, over processes and over time (``trainer.accumulate``). Losses, gradients and
scalars of the portions are shares that add up to the whole batch's, so the cut changes nothing but the
rounding. Dropout is the one exception: it starts from the same number in each portion, whichever process has
it, so that it depends on how many portions there are but on nothing else.
"""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn

from vla.data.batches import Prefetcher
from vla.errors import BadInput
from vla.folders import output_folder
from vla.training.budget import Budget
from vla.training.checkpoint import POLICY, Checkpoints, replace_folder
from vla.training.config import TrainerConfig
from vla.training.distributed import agree, rank, wait_for_all
from vla.training.engine import build_engine
from vla.training.evaluation import Validation
from vla.training.interrupts import Interrupts
from vla.training.meter import Meter
from vla.training.optim import Ema, build_optimizer, lr_factor, named_parts
from vla.training.progress import Progress, Silence, clock
from vla.training.saver import Diverged, Saver
from vla.training.stepper import Stepper

__all__ = ["Batches", "Diverged", "Trainer"]

Batch = Mapping[str, Any]
Batches = Callable[[int, int, int], Batch]
"""(number of a batch's first sample, part, parts) -> that part of the batch; 0, 1: all of it."""


class Trainer:
    """Trains `model`, whose ``loss(batch, totals)`` gives (loss, scalars) and whose ``totals(batch)`` what
    they are divided by (see `vla.losses`); where a batch is not cut, ``loss(batch)`` alone will do.

    batches: makes a training batch. validation: (part, parts) -> its share of fixed batches for the
    validation loss. save_policy: writes the model folder. roll_out: (policy folder, step) -> scalars, e.g.
    {"success_rate": 0.8}; in the first process. evaluate: the averaged model, in evaluation mode -> scalars
    under names of their own, e.g. {"vqa/accuracy": 0.6}; called in every process, and what the first one
    gives counts. identity: what must be equal for a checkpoint in `out` to be of this run.

    Where several processes train, they are within `vla.training.distributed.running`.
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
        validation: Callable[[int, int], Iterator[Batch]] | None = None,
        roll_out: Callable[[Path, int], Mapping[str, float]] | None = None,
        evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
        identity: Mapping[str, Any] | None = None,
        prefetch: int = 2,
    ) -> None:
        self.config, self.out, self.seed = config, out, seed
        self.budget = Budget.of(config)
        self.batches, self.roll_out, self.evaluate = batches, roll_out, evaluate
        self.identity = dict(identity or {})
        self.prefetch = prefetch
        self.device = config.torch_device()
        self.parts = config.parts()
        if config.used_engine() != "none" and not dist.is_initialized():
            raise RuntimeError("several processes train within vla.training.distributed.running()")
        if self.parts > 1 and not hasattr(model, "totals"):
            raise BadInput("this model tells no totals: train it in one process, with trainer.accumulate=1")
        if config.threads:
            torch.set_num_threads(config.threads)
        if config.checkpointing:
            _checkpoint_activations(model)
        self.model = model.to(self.device)
        parts = named_parts(self.model)
        self.ema = Ema(self.model, config.optim.ema) if config.optim.ema else None
        average = self.ema.model if self.ema is not None else None
        self.best_model = average if average is not None else self.model
        self.engine = build_engine(self.model, average, self.device, config)
        self.optimizer = build_optimizer(self.model, config.optim, parts)
        self.stepper = Stepper(self.engine, self.optimizer, self.ema, config)
        self.validation = None if validation is None else Validation(validation, self.engine, seed)
        self.checkpoints = Checkpoints(out / "checkpoints", config.keep)
        self.saver = Saver(self.engine, self.optimizer, self.ema, self.checkpoints, save_policy)
        self.interrupts = Interrupts()
        self.step = 0
        self.elapsed = 0.0  # seconds trained by earlier processes of this run
        self._saved_step = -1

    @property
    def samples(self) -> int:
        """Training samples seen so far."""
        return self.step * self.config.batch

    @property
    def total_steps(self) -> int:
        """Steps in the budget of samples."""
        return self.budget.steps

    def _save(self) -> None:
        if self._saved_step != self.step:
            state = {"samples": self.samples, "elapsed": self.elapsed, "identity": self.identity}
            self.saver.save(self.step, {**state, "budget": self.budget.to_dict()})
            self._saved_step = self.step

    def _resume(self) -> str | None:
        """Go on from the newest checkpoint; returns what is to be said of the learning rate."""
        state = self.saver.resume(self.identity, self.out)
        if state is not None:
            self.step, self.elapsed = int(state["step"]), float(state["elapsed"])
            self._saved_step = self.step
            where = self.step, self.elapsed
            return self.budget.told_instead_of(state.get("budget"), self.config.optim, *where)
        return None

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> Path:
        """Train to the end of the budget, resuming if `out` holds checkpoints; returns the policy folder."""
        with output_folder(self.out) if rank() == 0 else contextlib.nullcontext():
            return self._run()

    def _run(self) -> Path:
        told = self._resume()
        first = rank() == 0
        progress = Progress(self.out, self.step, self.config) if first else Silence()
        if self.step:
            progress.say(f"resumed at step {self.step:,}, sample {self.samples:,} of {self.config.samples:,}")
        if told is not None:
            progress.say(told)
        started = time.monotonic()
        prefetcher = Prefetcher(self._portions, self.samples, self.config.batch, self.prefetch)
        try:
            with self.interrupts.listening():
                self._loop(prefetcher, progress, started)
        finally:
            prefetcher.close()
            progress.close()
        policy = self.out / POLICY
        if first:
            replace_folder(self.checkpoints.path(self._saved_step) / POLICY, policy)
        wait_for_all()
        return policy

    def _portions(self, start: int) -> list[Batch]:
        """This process's portions of the batch whose first sample is `start`."""
        count = self.config.accumulate
        return [self.batches(start, rank() * count + i, self.parts) for i in range(count)]

    def _loop(self, prefetcher: Prefetcher, progress: Progress | Silence, started: float) -> None:
        meter = Meter(self.device)
        self.model.train()
        earlier = self.elapsed
        share = self._share()
        while share < 1.0 and self.step < self.total_steps:
            with meter.waiting():
                portions = next(prefetcher)
            factor = lr_factor(self.config.optim, self.samples, share)
            loss, norm, scalars = self.stepper(portions, factor, (self.seed << 40) + self.step, self.step)
            meter.add(loss, norm, scalars, self.config.batch)
            bad = self.device.type == "cpu" and not math.isfinite(loss.item() + norm.item())
            # One clock for all, and one moment at which to stop.
            passed = earlier + time.monotonic() - started if rank() == 0 else 0.0
            self.elapsed, asked, bad_anywhere = agree(passed, self.interrupts.asked, bad)
            if bad_anywhere:
                raise self._diverged(loss.item(), norm.item())
            self.step += 1
            share = self._share()
            last = share >= 1.0 or self.step >= self.total_steps
            if last or self._due(self.config.log_every):
                self._report(meter, progress, share)
            if asked:
                self._save()
                name = signal.Signals(int(asked)).name
                raise KeyboardInterrupt(f"stopped by {name} at step {self.step}; the same command goes on")
            self._periodic(progress, last)
            self.elapsed = earlier + time.monotonic() - started
            meter.restart_clock()
        if self._saved_step < 0:  # resumed a run that was already complete
            self._saved_step = self.step

    def _share(self) -> float:
        """0..1: how much of the run is done, by samples or by time, whichever is more."""
        return self.budget.share(self.step, self.elapsed)

    def _due(self, every: int) -> bool:
        """Whether this step has just passed a multiple of `every` samples."""
        return bool(every) and self.samples // every > (self.samples - self.config.batch) // every

    def _periodic(self, progress: Progress | Silence, last: bool) -> None:
        rolls = self.roll_out is not None and (last or self._due(self.config.rollout_every))
        scores: dict[str, float] = {}
        if last or self._due(self.config.validate_every):
            scores |= self._evaluate()
        if rolls or last or self._due(self.config.save_every):
            self._save()
        if rolls and self.roll_out is not None and rank() == 0:
            found = self.roll_out(self.checkpoints.path(self.step) / POLICY, self.step)
            scores |= {f"rollout/{name}": float(value) for name, value in found.items()}
            self.model.train()
        if rolls:
            wait_for_all()
        if rank() == 0:
            if scores:
                progress.scalars(self.step, self.samples, scores)
                said = {
                    n: v
                    for n, v in scores.items()
                    if n == "validation/loss" or n.split("/")[0] != "validation"
                }
                progress.say("  ".join(f"{name} {value:.4f}" for name, value in said.items()))
            self._offer_best(scores)

    def _evaluate(self) -> dict[str, float]:
        """The validation loss, and what else is measured of the averaged weights."""
        scores: dict[str, float] = {}
        if self.validation is None and self.evaluate is None:
            return scores
        with self.engine.whole(self.best_model) as model:
            model.eval()
            if self.validation is not None:
                scores |= {f"validation/{name}": value for name, value in self.validation(model).items()}
            if self.evaluate is not None:
                with torch.no_grad():
                    scores |= {name: float(value) for name, value in self.evaluate(model).items()}
        self.model.train()
        return scores

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

    # -- telling -----------------------------------------------------------------------------------

    def _report(self, meter: Meter, progress: Progress | Silence, share: float) -> None:
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


def _checkpoint_activations(model: nn.Module) -> None:
    if not hasattr(model, "checkpoint_activations"):
        raise BadInput(
            "trainer.checkpointing=true: this model cannot compute its activations again; use false"
        )
    cast(Any, model).checkpoint_activations(True)
