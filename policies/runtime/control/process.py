"""A policy in a process of its own, so that its Python never keeps the control thread from the interpreter.

The child (`child`) serves it over loopback with `policies.serving`, behind a token that only the two know;
the parent asks with `policies.remote`. Numbers travel as msgpack, nothing is pickled.
"""

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies import find_checkpoint
from policies.remote import RemotePolicy
from vla.errors import BadInput
from vla.interfaces import ActionChunk, InFlight, Observation

__all__ = ["ProcessPolicy", "process_policy"]

PATIENCE = 120.0
"""Seconds that loading a policy may take."""

TIMEOUT = 30.0
"""Seconds after which an answer that has not come is a failure; the watchdog has held the arm long before."""


class ProcessPolicy(RemotePolicy):
    """As the policy it stands for."""

    def __init__(self, url: str, token: str, process: subprocess.Popen[str]) -> None:
        self._process = process
        super().__init__(url, token, timeout=TIMEOUT)

    def act(
        self,
        observations: Sequence[Observation],
        which: Sequence[int],
        in_flight: Sequence[InFlight | None] | None = None,
    ) -> list[ActionChunk]:
        """See Continuing. Raises BadInput if the process is dead."""
        try:
            return super().act(observations, which, in_flight)
        except BadInput:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(0.2)
                raise BadInput(f"the policy's process has ended (exit status {status})") from None
            raise


@contextlib.contextmanager
def process_policy(
    name_or_path: str,
    options: Mapping[str, Any] | None = None,
    *,
    threads: int | None = 1,
    patience: float = PATIENCE,
) -> Iterator[ProcessPolicy]:
    """A policy that `policies.load` knows, in a process that ends with the context."""
    if name_or_path == "expert":
        raise BadInput("policy=expert sees the simulated scene, which is in this process: inference=thread")
    if name_or_path != "random":
        find_checkpoint(name_or_path)  # so that a misspelt name is told at once
    token = secrets.token_urlsafe(24)
    process = _started(threads)
    try:
        asked = {"policy": name_or_path, "options": dict(options or {})}
        said = _ask(process, asked | {"token": token, "threads": threads}, patience)
        with ProcessPolicy(said["url"], token, process) as policy:
            yield policy
    finally:
        _end(process)


def _started(threads: int | None) -> subprocess.Popen[str]:
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    return subprocess.Popen(
        [sys.executable, "-m", "policies.runtime.control.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,  # a Ctrl-C in the terminal is for the loop alone
    )


def _ask(process: subprocess.Popen[str], asked: Mapping[str, Any], patience: float) -> dict[str, Any]:
    """Tell it what to load; where it then is. Raises BadInput where that fails."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
    except TypeError as error:
        raise BadInput(f"the policy's options cannot be sent to its process: {error}") from None
    end = time.monotonic() + patience
    line = ""
    while not line and time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.2)[0]:
            line = process.stdout.readline()
            break
    if not line:
        status = process.poll()
        raise BadInput(
            f"the policy's process has not come up within {patience:g} s"
            if status is None
            else f"the policy's process has ended while loading (exit status {status})"
        )
    said: dict[str, Any] = json.loads(line)
    if "error" in said:
        raise BadInput(said["error"])
    return said


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
