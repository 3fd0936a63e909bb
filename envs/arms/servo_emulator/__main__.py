"""``python -m envs.arms.servo_emulator '{"seed": 3}'``: an emulator as a process, for tests and tools.

Prints one line of JSON (port, address), and lives until its standard input ends. `scripts/emulator.py` is the
command for people.
"""

import json
import sys
from pathlib import Path

from envs.arms.servo_emulator.emulator import Emulator, EmulatorOptions


def main() -> None:
    """Read the options, live, and end with the parent."""
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    if given.get("link") is not None:
        given["link"] = Path(given["link"])
    with Emulator(EmulatorOptions(**given)) as emulator:
        print(json.dumps({"port": emulator.port, "address": emulator.address}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
