"""How long a run is to be, and what the learning rate does where it goes on with another budget.

The learning rate follows the share of the budget that is done. So a longer budget for a run that was stopped,
or had ended, moves it: after a whole cosine from its end back up. That is allowed, and told in one line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vla.training.config import OptimConfig, TrainerConfig
from vla.training.optim import lr_factor

__all__ = ["Budget"]


@dataclass(frozen=True)
class Budget:
    """samples: training samples, in steps of `batch`. minutes: a second budget, in wall-clock time."""

    samples: int
    batch: int
    minutes: float | None = None

    @classmethod
    def of(cls, config: TrainerConfig) -> "Budget":
        """What the settings ask for."""
        return cls(config.samples, config.batch, config.max_minutes)

    @property
    def steps(self) -> int:
        """Steps in the budget of samples."""
        return -(-self.samples // self.batch)

    def share(self, step: int, elapsed: float) -> float:
        """0..1: how much of it is done, by samples or by time, whichever is more. elapsed: seconds."""
        share = step / self.steps
        if self.minutes:
            share = max(share, elapsed / (60.0 * self.minutes))
        return min(1.0, share)

    def to_dict(self) -> dict[str, Any]:
        """For the checkpoint; `batch` is kept there already."""
        return {"samples": self.samples, "max_minutes": self.minutes}

    def told_instead_of(
        self, saved: Mapping[str, Any] | None, optim: OptimConfig, step: int, elapsed: float
    ) -> str | None:
        """What the learning rate does from `step` on, in a line, where the run had another budget so far.

        saved: what `to_dict` gave then; None (a checkpoint that does not tell) and the same budget: None.
        """
        if saved is None or saved == self.to_dict():
            return None
        now, before = self.to_dict(), Budget(saved["samples"], self.batch, saved["max_minutes"])
        what = " and ".join(
            f"trainer.{key} was {_short(saved[key])}, is {_short(value)}"
            for key, value in now.items()
            if value != saved[key]
        )
        if self.share(step, elapsed) >= 1:
            return f"{what}: so much is trained already, nothing is left to do"
        was, goes_on = (
            optim.lr * lr_factor(optim, step * self.batch, budget.share(step, elapsed))
            for budget in (before, self)
        )
        begins = (
            f"the learning rate stays {goes_on:.2g}"
            if abs(was - goes_on) <= 0.005 * optim.lr
            else f"the learning rate goes {'up' if goes_on > was else 'down'} from {was:.2g} to {goes_on:.2g}"
        )
        return f"{what}: {begins}, then {self._course(optim)}{_advice(optim, was, goes_on, out_of=before)}"

    def _course(self, optim: OptimConfig) -> str:
        end = f"{optim.final * optim.lr:.2g} at sample {self.samples:,}"
        if self.minutes:
            end += f" or minute {self.minutes:g}"
        if optim.schedule == "cosine":
            return f"falls along a cosine to {end}"
        return f"holds its peak {optim.lr:.2g} and falls over the last {optim.decay:.0%} of the run to {end}"


def _advice(optim: OptimConfig, was: float, goes_on: float, out_of: Budget) -> str:
    """Where it rises by a tenth of the peak or more, the run is not what one of the new length had been."""
    if goes_on - was < 0.1 * optim.lr:
        return ""
    if optim.schedule == "wsd":
        return "; the loss may rise at first, as the rate had begun to fall"
    return (
        f"; the weights have a cosine over {out_of.samples:,} samples behind them: for one over all train "
        "anew (another out=), for runs that are to be extended use trainer.optim.schedule=wsd"
    )


def _short(value: float | None) -> str:
    return "null" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}"
