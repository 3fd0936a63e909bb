"""Decode what a training would read, once: ``python scripts/data.py cache experiment=tabletop web=pictures``.

A training does the same by itself; this does it beforehand, where no GPU is kept waiting.
"""

import os

from vla.config import command

from .train import Train

__all__ = ["main"]


@command("data_cache", Train)
def main(config: Train) -> None:
    """Build what is not there yet; a line for each cache."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from vla.training.caches import build_caches

    for word, asked in (
        ("reading", config.reading.cache),
        ("mixture", config.mixture.cache or not config.web),
    ):
        if not asked:
            print(f"{word}.cache=false: those pictures are decoded as they are asked for, nothing is kept")
    new = total = 0
    for built in build_caches(config):
        what = f"decoded in {built.seconds:.1f} s" if built.new else "there already"
        print(f"{built.name}: {built.bytes / 1e6:,.1f} MB, {what}", flush=True)
        new, total = new + built.new, total + built.bytes
    if total:
        print(f"{total / 1e6:,.1f} MB in all; " + (f"{new} new" if new else "nothing was to be done"))
