"""What a run on an arm is put together from: the policy, wherever it is, and the log.

Nothing here knows an arm; `scripts/deploy.py` brings the two together.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from policies.base import Policy
from policies.expert import ExpertPolicy
from policies.runtime.log.options import LogOptions
from vla.arm import ArmSpec
from vla.checks import at_least
from vla.errors import BadInput
from vla.interfaces import ActionChunk, Observation

if TYPE_CHECKING:
    from policies.runtime.log import RunLog

__all__ = ["PolicySource", "SceneExpertPolicy", "new_log", "recover_runs"]


@dataclass(frozen=True, kw_only=True)
class PolicySource:
    """Which policy, and where it runs. policy: a name or a folder, as in ``policies.load``,
    ``recorded:FOLDER#EPISODE``, or ``expert``; options: of it. server: address of a policy server instead,
    with token_file, authority and timeout_s as in `RemotePolicy` (an answer that is late holds the arm).
    """

    policy: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    server: str | None = None
    token_file: Path | None = None
    authority: Path | None = None
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        at_least(self, 0.01, "timeout_s")
        if (self.policy is None) == (self.server is None):
            raise BadInput("give what is to move the arm: policy=NAME_OR_FOLDER, or server=ws://HOST:PORT")
        if self.policy is not None and self.policy.startswith(("ws://", "wss://")):
            raise BadInput(f"policy={self.policy} is a server's address: give it as server={self.policy}")
        if self.server is None and (self.token_file or self.authority):
            raise BadInput("token_file and authority are for a server; give server=wss://HOST:PORT, too")

    @property
    def named(self) -> str:
        """The policy or its server, for people."""
        return str(self.policy if self.server is None else self.server)

    def check(self) -> None:
        """Raise BadInput for what can be seen without loading anything."""
        from policies import find_checkpoint

        name = self.policy
        if name is not None and name not in ("expert", "random") and not name.startswith("recorded:"):
            find_checkpoint(name)

    def open(self, stack: contextlib.ExitStack, process: bool, threads: int | None) -> Policy:
        """The policy, ready to be asked; what it needs is closed by `stack`. process: in one of its own."""
        if self.server is not None:
            from policies.remote import RemotePolicy

            return stack.enter_context(
                RemotePolicy(
                    self.server,
                    _token(self.token_file),
                    authority=self.authority,
                    timeout=self.timeout_s,
                    lost="hold",
                )
            )
        name = self.named
        if name == "expert":
            return SceneExpertPolicy()
        if name.startswith("recorded:"):
            from policies.recorded import RecordedPolicy

            return RecordedPolicy.named(name)
        if process:
            from policies.runtime.control.process import process_policy

            return stack.enter_context(process_policy(name, self.options, threads=threads))
        from policies import load

        return load(name, **self.options)


class SceneExpertPolicy(ExpertPolicy):
    """The scripted expert on a real clock: each of its commands holds until the next one is there."""

    horizon = 8
    about: Mapping[str, Any] = {"hz": 20.0}

    def reset(self, count: int) -> None:
        """See Policy. The scene stays the one that it was given: there is but one arm."""

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """See Policy."""
        return [
            replace(chunk, actions=np.repeat(chunk.actions, self.horizon, axis=0))
            for chunk in super().act(observations, which)
        ]


def recover_runs(options: LogOptions) -> list[str]:
    """Make runs whole that crashed, before the next begins: a line about each."""
    if options.folder is None or not options.folder.is_dir():
        return []
    from policies.runtime.log.runs import recover

    found = recover(options.folder)
    return [trouble or f"recovered the log of a run that had crashed: {folder}" for folder, trouble in found]


def new_log(
    options: LogOptions, spec: ArmSpec, task: str, policy_hz: float, source: PolicySource, **about: Any
) -> "RunLog | None":
    """The log of a run that begins now, in a folder of its own; None where nothing is to be logged."""
    if options.folder is None:
        return None
    from policies.runtime.log import RunLog
    from policies.runtime.metrics import commit

    name = source.named
    weights = source.server is None and not name.startswith("recorded:")
    told = {"policy": name, "hash": _fingerprint(name) if weights else "", "commit": commit(), **about}
    first = options.folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{spec.robot}"
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return RunLog(folder, spec, task, policy_hz, told, options=options)


def _fingerprint(policy: str) -> str:
    from policies.runtime.delays import fingerprint

    return fingerprint(policy)


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError):
        raise BadInput(f"token_file: no token can be read from {path}") from None
