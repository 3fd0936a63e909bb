"""``python -m envs.arms.servo_emulator '{"seed": 3}'``: an emulator as a process, for tests and tools.

Prints one line of JSON, and lives until its standard input ends: its port and address, or the error for which
it could not begin. `scripts/emulator.py` is the command for people.
"""

import contextlib
import json
import sys
from pathlib import Path

from envs.arms.servo_emulator.emulator import Emulator, EmulatorOptions
from vla.errors import BadInput


def main() -> None:
    """Read the options, live, and end with the parent."""
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    if given.get("link") is not None:
        given["link"] = Path(given["link"])
    try:
        emulator = Emulator(EmulatorOptions(**given)).start()
    except BadInput as error:  # a mistake of whoever asked for it, who is to tell it
        print(json.dumps({"error": str(error)}), flush=True)
        raise SystemExit(2) from None
    with contextlib.closing(emulator):
        print(json.dumps({"port": emulator.port, "address": emulator.address}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
