"""How a policy is asked on behalf of many: its lanes kept, a batch answered, its faults told apart.

If the policy raises on a batch, each of it is asked again alone, so that one client's sentence with an
unknown word is only its own.
"""

import time
from collections.abc import Sequence

from policies.base import Continuing, Policy, Seeded, Watcher
from policies.serving.batching import Job
from policies.serving.errors import Refusal
from policies.serving.judging import safe, told
from policies.serving.metrics import Metrics
from policies.serving.protocol import Facts
from vla.errors import UndecodableChunk
from vla.interfaces import ActionChunk

__all__ = ["Asker"]


class Asker:
    """Alone with the policy, in one thread."""

    def __init__(self, policy: Policy, facts: Facts, metrics: Metrics) -> None:
        self._policy, self._facts, self._metrics = policy, facts, metrics

    def prepare(self, job: Job) -> Refusal | None:
        """Do what comes before the batch: episodes that begin or end, steps that are only shown. Returns
        what the policy raised."""
        lane, policy = job.session.lane, self._policy
        try:
            if job.kind in ("begin", "forget"):
                if isinstance(policy, Watcher):
                    policy.forget(lane)
                if job.kind == "begin" and isinstance(policy, Seeded):
                    policy.begin(lane, job.seed)
            elif self._facts.watching and (job.kind == "observe" or job.watched):
                assert job.observation is not None and isinstance(policy, Watcher)
                policy.observe([job.observation], [lane])
        except Exception as error:
            return told(error)
        return None

    def infer(self, jobs: Sequence[Job]) -> list[ActionChunk | Refusal]:
        """The policy's answer to each, all in one call of it."""
        if not jobs:
            return []
        seen = [job.observation for job in jobs if job.observation is not None]
        lanes, plans = [job.session.lane for job in jobs], [job.in_flight for job in jobs]
        start = time.perf_counter()
        try:
            if self._facts.continues and any(plans) and isinstance(self._policy, Continuing):
                chunks = self._policy.act(seen, lanes, plans)
            else:
                chunks = self._policy.act(seen, lanes)
            if len(chunks) != len(jobs):
                raise RuntimeError(f"{len(chunks)} chunks for {len(jobs)} observations")
        except UndecodableChunk as error:
            if len(jobs) == 1:
                return [ActionChunk.holding(str(error), seen[0], self._facts.dim)]
        except Exception as error:
            if len(jobs) == 1:
                return [told(error)]
        else:
            self._metrics.inference.observe(time.perf_counter() - start)
            self._metrics.batch.observe(len(jobs))
            return [safe(chunk, o) for chunk, o in zip(chunks, seen, strict=True)]
        return [answer for job in jobs for answer in self.infer([job])]
