"""An emulator in a process of its own, as a real arm is: it shares no interpreter lock with who drives it."""

import json
import subprocess
import sys
from typing import Any, Self

from envs.arms.servo_emulator.client import EmulatorClient
from vla.arm import ArmFault
from vla.errors import BadInput

__all__ = ["EmulatorProcess"]


class EmulatorProcess(EmulatorClient):
    """Starts it with the given `EmulatorOptions` (plain values) and talks with it. port: what a driver opens.

    It ends with `close`, or when this process does.
    """

    def __init__(self, **options: Any) -> None:
        command = [sys.executable, "-m", "envs.arms.servo_emulator", json.dumps(options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._end()
            raise ArmFault("the emulator's process did not start; see what it printed")
        told = json.loads(line)
        if "error" in told:
            self._end()
            raise BadInput(f"the emulator: {told['error']}")
        self.port: str = told["port"]
        super().__init__(told["address"], timeout_s=20.0)

    def close(self) -> None:
        """End it."""
        super().close()
        self._end()

    def __enter__(self) -> Self:
        return self

    def _end(self) -> None:
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
