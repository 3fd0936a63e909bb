"""Press the emergency stop of a run: ``python -m policies.runtime.safety.stop --port PORT [REASON]``."""

import argparse
import socket
import sys
from collections.abc import Sequence

from vla.errors import BadInput

__all__ = ["DEFAULT_PORT", "main", "stop"]

DEFAULT_PORT = 47110
"""Of conf/safety/default.yaml."""


def stop(port: int = DEFAULT_PORT, reason: str = "", *, seconds: float = 2.0) -> str:
    """Press the stop of the run that listens on `port` of this machine; returns its answer, ``stopped``.

    Raises BadInput where nobody listens, or answers within `seconds`.
    """
    line = " ".join(["stop", *reason.split()])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            connection.sendall(line.encode() + b"\n")
            answer = connection.makefile("rb").readline().decode("utf-8", "replace").strip()
    except OSError as error:
        raise BadInput(f"no run's emergency stop answers on port {port}: {error}") from None
    if answer != "stopped":
        raise BadInput(f"what listens on port {port} is no emergency stop: it answers {answer[:80]!r}")
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="stop", description="Press the emergency stop of a run.")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="the run's safety.stop.port")
    parser.add_argument("reason", nargs="*", help="kept in the run's log")
    given = parser.parse_args(arguments)
    try:
        print(stop(given.port, " ".join(given.reason)))
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
