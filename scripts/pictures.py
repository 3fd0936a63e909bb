"""Make pictures with texts: ``python scripts/pictures.py count=20000 out=FOLDER``. Run again to go on.

Things of many shapes, colours and materials before all kinds of backgrounds, with captions, questions,
answers and places, as WebDataset shards (vla/data/web/shards_writer.py). All follow from (seed, number).
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vla.checks import at_least, at_most, check_seed
from vla.config import command
from vla.errors import BadInput
from vla.folders import output_folder, write_whole

if TYPE_CHECKING:
    from vla.data.web.sample import WebSample

__all__ = ["Pictures", "main"]


@dataclass(frozen=True)
class Pictures:
    """Options of the command; see conf/pictures.yaml. shapes, colors: empty, all that there are."""

    count: int = 20_000
    out: Path = Path("outputs/pictures/gallery")
    seed: int = 0
    split: Literal["train", "validation"] = "train"
    size: int = 96
    turns: int = 5
    pointing: int = 0
    shapes: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    per_shard: int = 1000
    shown: int = 48
    workers: int | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "count", "turns", "per_shard", "workers")
        at_least(self, 32, "size")
        at_most(self, 1280, "size")
        at_least(self, 0, "shown", "pointing")
        check_seed(self)

    def note(self) -> dict[str, Any]:
        """What the records depend on, beside their number."""
        names = ("per_shard", "seed", "split", "size", "turns", "pointing", "shapes", "colors")
        plain: dict[str, Any] = json.loads(json.dumps({name: getattr(self, name) for name in names}))
        return {"encoding": "png", **plain}

    def rows(self, shard: int) -> range:
        """Numbers of a shard's records."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.count))


@command("pictures", Pictures)
def main(config: Pictures) -> None:
    """Write the shards that are not there yet, and a page that shows the first records."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the cores are taken by the workers, one each
    import time

    from tqdm import tqdm

    from policies.runtime.workers import run_jobs
    from vla.data.web.shards_writer import shard_path

    _limits(config)  # a wrong name is told before any process starts
    shards = range(-(-config.count // config.per_shard))
    start, new = time.perf_counter(), 0
    with output_folder(config.out):
        _begin(config)
        if shard_path(config.out, len(shards)).exists():
            raise BadInput(f"{config.out} holds more than {config.count} records: give another out=")
        missing = [n for n in shards if _held(shard_path(config.out, n)) != len(config.rows(n))]
        workers = min(config.workers or os.cpu_count() or 1, max(1, len(missing)))
        there = config.count - sum(len(config.rows(n)) for n in missing)
        with tqdm(total=config.count, initial=there, unit=" pictures", dynamic_ncols=True) as bar:
            for made in run_jobs(_write, missing, workers, config):
                bar.update(made)
                new += made
        _show(config)
    seconds = time.perf_counter() - start
    print(f"{new} new pictures in {seconds:.0f} s ({new / seconds:.0f} a second on {workers} processes)")
    print(f"{config.out}: {config.count} records in {len(shards)} shards; {config.out / 'index.html'}")


def _limits(config: Pictures) -> Any:
    from envs.gallery.limits import Limits

    every = Limits()
    return Limits(config.shapes or every.shapes, config.colors or every.colors)


def _write(shards: Iterable[int], check: Callable[[], None], config: Pictures) -> Iterator[int]:
    """Write whole shards, telling how many pictures each holds; one that is interrupted is made anew."""
    from vla.data.web.shards_writer import shard_path, write_shard

    for shard in shards:

        def samples(rows: range = config.rows(shard)) -> Iterator["WebSample"]:
            for number in rows:
                check()
                yield _sample(config, number)

        yield write_shard(samples(), shard_path(config.out, shard), config.rows(shard).start)


def _sample(config: Pictures, number: int) -> "WebSample":
    from envs.gallery.picture import picture
    from vla.data.web.sample import Box, Turn, WebSample

    drawn = picture(
        config.seed,
        number,
        config.size,
        limits=_limits(config),
        split=config.split,
        turns=config.turns,
        pointing=config.pointing,
    )
    turns = (Turn(said.prompt, said.answer, tuple(Box(*box) for box in said.boxes)) for said in drawn.turns)
    return WebSample((drawn.image,), tuple(turns))


def _begin(config: Pictures) -> None:
    """Write down with which settings the folder is made; raise BadInput where it was begun with others."""
    from vla.data.web.shards_writer import NOTE

    file, note = config.out / NOTE, config.note()
    if not file.is_file():
        write_whole(file, json.dumps(note, indent=1, sort_keys=True) + "\n")
        return
    held = json.loads(file.read_text(encoding="utf-8"))
    for key in sorted(held.keys() | note.keys()):
        if held.get(key) != note.get(key):
            raise BadInput(
                f"{config.out} was begun with {key}={held.get(key)}, now it is {note.get(key)}: give another "
                f"out=, or the same {key}"
            )


def _held(path: Path) -> int:
    """Records of a shard; 0 where it is not there or not whole."""
    from vla.data.web.tar_index import index_shard

    if not path.is_file():
        return 0
    index = index_shard(path)
    return 0 if index.cut else len(index.keys)


def _show(config: Pictures) -> None:
    """A page with the first pictures, what is asked of them, and boxes of what the first line speaks of."""
    from vla.configuration.web import ShardsConfig
    from vla.data.page import Card, Section, page
    from vla.data.web import open_source

    source = open_source("pictures", ShardsConfig(path=str(config.out)))
    cards = []
    for number in range(min(config.shown, len(source))):
        sample = source[number]
        lines = [(turn.prompt, turn.answer) for turn in sample.turns]
        cards.append(Card(sample.images, lines, sample.turns[0].boxes if sample.turns else ()))
    note = ", ".join(f"{key}={value}" for key, value in config.note().items())
    section = Section(f"{config.count} records", "boxes: of what the first line speaks of", cards)
    write_whole(config.out / "index.html", page("Pictures with texts", note, [section]))


if __name__ == "__main__":
    main()
