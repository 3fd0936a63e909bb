"""What a training would draw: ``python scripts/data.py mix web=pictures mixture.robot_share=0.6 data=[a,b]``.

The same settings as scripts/train.py, the same samples in the same order; no model is built, and nothing is
decoded beyond what is counted and shown.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput

from .train import Train

__all__ = ["Mix", "main"]


@dataclass(frozen=True, kw_only=True)
class Mix(Train):
    """Options of the command; see conf/data_mix.yaml."""

    stage: int = 1
    samples: int = 2000
    shown: int = 24
    page: Path | None = Path("outputs/data/mix.html")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "stage", "samples", "shown")


@command("data_mix", Mix)
def main(config: Mix) -> None:
    """Count, print, write the page."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from envs.tabletop.language import all_words
    from vla.data.page import Section, check_place, write_page
    from vla.data.samples import told
    from vla.pretrained import load_processor
    from vla.training.account import account
    from vla.training.intake import draw, read
    from vla.training.shown import cards

    check_place(config.page)
    # Not when it is made: what is left of a plan for one of its stages has none.
    if config.stage > max(1, len(config.stages)):
        raise BadInput(f"stage={config.stage}: the plan has {max(1, len(config.stages))}")
    run = config.of_stage(config.stage, config.init) if config.stages else config
    # Pictures are the same bytes without the caches, which would be built for all of the data.
    run = replace(run, reading=replace(run.reading, cache=False), mixture=replace(run.mixture, cache=False))
    known = None if run.init is None else load_processor(run.init)
    reading = read(run, all_words(), None if known is None else (known.config, known))
    intake = draw(run, reading, torch.device("cpu"))
    rows = account(run, reading, intake, config.samples)
    print(told(rows))
    if config.page is not None:
        found = cards(run, reading, intake, config.shown)
        sections = [Section(f"The first {config.samples:,} samples", rows, [])]
        sections += [Section(name, "", shown) for name, shown in found.items()]
        note = f"The first {config.shown} samples as the model gets them, decoded back from their batch"
        write_page(config.page, "What is drawn", note, sections)
        print(config.page)
