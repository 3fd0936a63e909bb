"""The settings of chunked execution, and what they come to for a policy with chunks of a given length."""

import math
import typing
from dataclasses import dataclass
from typing import Literal

from policies.base import Continuing, Policy
from policies.runtime.chunking.schedule import Schedule
from vla.checks import at_least
from vla.errors import BadInput, did_you_mean

__all__ = ["Chunking", "Kind", "Terms"]

Kind = Literal["queue", "ensemble", "real_time"]


@dataclass(frozen=True)
class Chunking:
    """How chunks are executed (conf/chunking/*.yaml).

    kind: ``queue`` runs some steps of a chunk, then goes over to the next. ``ensemble`` averages all that was
    predicted for the present step (Zhao et al. 2023, ACT). ``real_time`` makes the next chunk go on from the
    one in flight (Black, Galliker and Levine 2025, real-time chunking).
    execute: control steps from one request for a chunk to the next; None: for a queue the policy's own
    choice, for an ensemble 1, in real time the nearest possible to the policy's own.
    delay: control steps from an observation to its answer. schedule: how firmly the plan in flight binds the
    next chunk after the delay. decay: ACT's m, the weight of the i-th oldest prediction is exp(-m i).
    """

    kind: Kind = "queue"
    execute: int | None = None
    delay: int = 0
    schedule: Schedule = "exp"
    decay: float = 0.01

    def __post_init__(self) -> None:
        for name, known in (("kind", typing.get_args(Kind)), ("schedule", typing.get_args(Schedule))):
            value = getattr(self, name)
            if value not in known:
                raise BadInput(f"{name} cannot be {value!r}{did_you_mean(str(value), known)}")
        at_least(self, 1, "execute")
        at_least(self, 0, "delay")
        if not math.isfinite(self.decay):
            raise BadInput(f"decay={self.decay}: a finite number is needed")

    def terms(self, policy: Policy) -> "Terms":
        """What it comes to for `policy`. Raises BadInput for what its chunks are too short for."""
        own = min(max(getattr(policy, "execute", policy.horizon), 1), policy.horizon)
        continues = isinstance(policy, Continuing) and policy.continues
        return self.terms_for(policy.name, policy.horizon, own, continues)

    def terms_for(self, name: str, horizon: int, own: int, continues: bool = False) -> "Terms":
        """As ``terms``, for a policy called `name` with chunks of `horizon` steps that likes to run `own`."""
        chunks = f"the chunks of policy '{name}' have {_steps(horizon)}"
        if self.delay >= horizon:
            raise BadInput(f"delay={self.delay}: {chunks}, so at most {horizon - 1} is possible")
        if self.execute is not None and self.execute > horizon:
            raise BadInput(f"execute={self.execute}: {chunks}; at most {horizon} is possible")
        least, most = max(self.delay, 1), horizon - self.delay
        if self.kind == "real_time":
            if least > most:
                need = f"real_time needs chunks of {2 * self.delay} steps for it"
                raise BadInput(f"delay={self.delay}: {need}, and {chunks}")
            if self.execute is not None and not least <= self.execute <= most:
                need = f"in real_time with a delay of {_steps(self.delay)} it must be from {least} to {most}"
                raise BadInput(f"execute={self.execute}: {need}, as {chunks}")
        wish = {"queue": own, "ensemble": 1, "real_time": min(max(own, least), most)}[self.kind]
        return Terms(self, horizon, self.execute or wish, continues and self.kind == "real_time")


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


@dataclass(frozen=True)
class Terms:
    """Settings made definite for one policy.

    horizon: steps of its chunks. execute: steps from one request to the next. continues: whether it is told
    the plan in flight; if not, the plan and its answer are blended.
    """

    chunking: Chunking
    horizon: int
    execute: int
    continues: bool = False

    @property
    def period(self) -> int:
        """Steps from one request to the next as they come about when every answer takes the given delay.

        There is never more than one on its way, and none is asked for so late that the plan runs out.
        """
        delay = self.chunking.delay
        return max(min(self.execute, self.horizon - delay), delay, 1)
