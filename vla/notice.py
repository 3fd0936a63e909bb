"""Lines a user should read once."""

import sys

__all__ = ["say_once"]

_told: set[str] = set()


def say_once(key: str, line: str) -> None:
    """Print `line` to stderr, the first time in this process that `key` comes up."""
    if key not in _told:
        _told.add(key)
        print(line, file=sys.stderr, flush=True)
