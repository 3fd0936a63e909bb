"""Look at data, convert it, measure it: ``python scripts/data.py inspect data=outputs/datasets/tabletop``.

inspect  tables of data sets and picture-text sources, and a page of samples
convert  LeRobot v2.1 folders, or LIBERO's and robomimic's HDF5, to LeRobot v3
stats    mean, deviation, range and quantiles of every column, of all frames; several data sets combined
cache    decode the pictures that a training would read, once
mix      what a training would draw: shares, counts, a page of samples
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from vla.errors import did_you_mean

__all__ = ["PARTS", "main"]

PARTS = ("inspect", "convert", "stats", "cache", "mix")


def main(argv: Sequence[str] | None = None) -> None:
    """Hand the rest of the command line to the part that the first word names."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(f"{__doc__}\nEach has its own --help: python scripts/data.py inspect --help")
        return
    if name not in PARTS:
        print(f"data.py: no part '{name}'{did_you_mean(name, PARTS)}", file=sys.stderr)
        raise SystemExit(2)
    if not __package__:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    importlib.import_module(f"{__package__ or 'scripts'}.data_{name}").main(arguments[1:])


if __name__ == "__main__":
    main()
