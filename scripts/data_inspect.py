"""What data sets and picture-text sources hold: ``python scripts/data.py inspect data=FOLDER web=pictures``.

Everything is looked at before the command ends; its status is 2 where something is damaged.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vla.checks import at_least, check_seed
from vla.config import command
from vla.configuration.web import WebSourceConfig
from vla.errors import BadInput

if TYPE_CHECKING:
    from vla.data.episodes import EpisodeDataset
    from vla.data.page import Section

__all__ = ["Inspect", "main"]


@dataclass(frozen=True)
class Inspect:
    """Options of the command; see conf/data_inspect.yaml."""

    data: tuple[Path, ...] | Path = ()
    web: Mapping[str, WebSourceConfig] = field(default_factory=dict)
    records: int = 500
    samples: int = 24
    horizon: int = 20
    seed: int = 0
    page: Path | None = Path("outputs/data/inspect.html")

    def __post_init__(self) -> None:
        at_least(self, 1, "records", "samples", "horizon")
        check_seed(self)
        if not self.folders and not self.web:
            raise BadInput("there is nothing to look at: give data=FOLDER, or web=NAME (conf/web)")

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders, also where a single one was given."""
        return self.data if isinstance(self.data, tuple) else (self.data,)


@command("data_inspect", Inspect)
def main(config: Inspect) -> None:
    """Look at everything, print it, write the page."""
    from vla.data.page import check_place, write_page

    check_place(config.page)
    sections: list[Section] = []
    datasets: list[EpisodeDataset] = []
    for folder in config.folders:
        sections.append(_robot(config, folder, datasets))
    for name, source in config.web.items():
        sections.append(_web(config, name, source))
    damage = [line for section in sections for line in section.damage]
    for line in damage:
        print(f"damaged: {line}", file=sys.stderr)
    if config.page is not None:
        note = f"{len(sections)} looked at, {len(damage)} damaged; samples chosen by seed {config.seed}"
        write_page(config.page, "Data", note, sections)
        print(config.page)
    if damage:
        raise SystemExit(2)


def _robot(config: Inspect, folder: Path, before: "list[EpisodeDataset]") -> "Section":
    from vla.data.inspection import inspect_robot
    from vla.data.meaning import check_same_meaning
    from vla.data.page import Section
    from vla.data.samples import robot_cards, told

    found = inspect_robot(folder)
    cards = []
    if found.dataset is not None:
        cards = robot_cards(found.dataset, config.samples, config.seed, config.horizon, found.look)
        found.look(None, check_same_meaning, [*before, found.dataset])
        before.append(found.dataset)
    print(f"{folder}\n{told(found.rows)}\n", flush=True)
    return Section(str(folder), found.rows, cards, found.damage)


def _web(config: Inspect, name: str, source: WebSourceConfig) -> "Section":
    from vla.data.page import Section
    from vla.data.samples import told, web_card
    from vla.data.web import open_source
    from vla.data.web.inspection import inspect

    try:
        found = inspect(open_source(name, source), config.records, config.seed, keep=config.samples)
    except BadInput as error:
        return Section(f"web.{name}", [], [], [str(error)])
    rows = found.rows()
    print(f"web.{name}: {source.kind}\n{told(rows)}\n", flush=True)
    damage = [
        f"web.{name}: {count:,} of {found.looked_at:,} records: {kind}, such as {found.examples[kind]}"
        for kind, count in found.damaged.items()
    ]
    return Section(f"web.{name} ({source.kind})", rows, [web_card(each) for each in found.samples], damage)
