"""What `process` starts: loads a policy, serves it to this machine alone, and ends with whoever started it.

One line of JSON comes in on stdin (policy, options, token, threads), one goes out on stdout: the address, or
an error. When stdin closes, because the parent closed it or died, this ends.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from vla.errors import BadInput

__all__ = ["main"]


def main() -> None:
    """See the module."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the loop, which must brake the arm first
    # What libraries print must not stand between us and whoever waits for our one line.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked = json.loads(sys.stdin.readline())
    try:
        _serve(asked, out)
    except BadInput as error:
        _tell(out, {"error": " ".join(str(error).split())})
        raise SystemExit(2) from None


def _serve(asked: dict[str, Any], out: Any) -> None:
    from policies import load
    from policies.serving.options import Limits, Serving
    from policies.serving.server import running

    policy = load(asked["policy"], **asked["options"])
    torch = sys.modules.get("torch")
    if torch is not None and asked["threads"] is not None:
        torch.set_num_threads(asked["threads"])
    with tempfile.TemporaryDirectory() as folder:  # readable by this user alone
        token = Path(folder) / "token"
        token.write_text(asked["token"], encoding="utf-8")
        limits = Limits(batch=1, wait_ms=0.0, idle_s=1e6)
        # Otherwise a run that waits for its first confirmation would be taken for a client that is gone.
        serving = Serving(port=0, token_file=token, limits=limits, optional_cameras=("*",))
        with running(policy, serving) as address:
            _tell(out, {"url": address.url("ws")})
            sys.stdin.read()  # until the parent closes it or dies


def _tell(out: Any, what: dict[str, Any]) -> None:
    out.write(json.dumps(what) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
