"""Compare action tokenizers on a dataset: ``python scripts/tokenizers.py data=outputs/datasets/tabletop``.

Each is fitted to chunks of the training episodes and measured on others: codes, error in physical units,
rates, joins of chunks, wrong codes. Writes a page, a plot, and each fitted tokenizer.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vla.checks import at_least, check_seed
from vla.config import command
from vla.configuration import ResidualConfig, TokenizerConfig
from vla.errors import BadInput, did_you_mean

__all__ = ["Tokenizers", "main"]

STATISTICS = "statistics.json"
USUAL = (2, 4)
"""Prefixes that are shown where a tokenizer has them."""


@dataclass(frozen=True)
class Tokenizers:
    """Options of the command; see conf/tokenizers.yaml."""

    data: tuple[Path, ...] | Path
    tokenizers: Mapping[str, TokenizerConfig]
    only: tuple[str, ...] = ()
    prefixes: tuple[int, ...] | None = None
    horizon: int = 16
    relative: tuple[bool, ...] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    frames: int = 20_000
    held: int = 2_000
    share: float = 0.1
    episodes: int = 100
    execute: int = 8
    corrupted: int = 500
    seconds: float = 0.5
    seed: int = 0
    out: Path = Path("outputs/tokenizers")
    table: Path = Path("outputs/tokenizers/tokenizers.md")

    def __post_init__(self) -> None:
        at_least(self, 1, "horizon", "frames", "held", "execute", "corrupted")
        at_least(self, 0, "episodes", "seconds")
        check_seed(self)
        if not 0 < self.share < 1:
            raise BadInput(f"share={self.share}: more than 0 and less than 1 of the episodes can be held out")
        if self.execute > self.horizon:
            raise BadInput(f"execute={self.execute}: a chunk has only horizon={self.horizon} steps")
        if not self.tokenizers:
            raise BadInput("tokenizers is empty: name at least one")
        for name in self.tokenizers:
            if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name) or f"{name}.json" == STATISTICS:
                raise BadInput(f"tokenizers: '{name}' cannot be a file's name; use letters, digits and _")
        for name in self.only:
            if name not in self.tokenizers:
                raise BadInput(f"only: there is no tokenizer '{name}'{did_you_mean(name, self.tokenizers)}")
        self._check_prefixes()
        if self.table.suffix != ".md" or self.table.is_dir():
            raise BadInput(f"table={self.table} is to be a file, whose name ends in .md")

    @property
    def chosen(self) -> dict[str, TokenizerConfig]:
        """Those to compare."""
        return {name: self.tokenizers[name] for name in self.only or self.tokenizers}

    def _check_prefixes(self) -> None:
        levels = [each.levels for each in self.chosen.values() if isinstance(each, ResidualConfig)]
        most = max(levels, default=1) - 1
        for count in self.prefixes or ():
            if not most:
                raise BadInput(
                    f"prefixes: the first {count} codes alone decode with no tokenizer here (with those of "
                    "kind residual they do): leave prefixes out"
                )
            if not 1 <= count <= most:
                raise BadInput(f"prefixes: there is no row for the first {count} codes; 1 to {most} can be")


@command("tokenizers", Tokenizers)
def main(config: Tokenizers) -> None:
    """Fit, measure, print and write."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tqdm import tqdm

    from vla.folders import output_folder, writable_folder, write_whole
    from vla.tokens.actions import ActionTokenizer
    from vla.tokens.actions.file import save_tokenizer
    from vla.tokens.comparison import compare, draw, page, read_chunks, work

    chunks = read_chunks(
        config.data if isinstance(config.data, tuple) else (config.data,),
        config.horizon,
        units=config.units,
        relative=config.relative,
        frames=config.frames,
        held=config.held,
        share=config.share,
        executed=config.episodes,
        execute=config.execute,
        seed=config.seed,
    )
    writable_folder(config.table.parent)
    total = work(chunks, config.chosen, config.corrupted)
    with output_folder(config.out), tqdm(total=total, unit="chunk", dynamic_ncols=True) as bar:
        chunks.statistics.save(config.out / STATISTICS)

        def on_fitted(name: str, tokenizer: ActionTokenizer) -> None:
            robots = [chunks.robot] if chunks.robot else []
            hashed = chunks.statistics.hash
            save_tokenizer(config.out / f"{name}.json", tokenizer, robots=robots, statistics=hashed)
            bar.set_description(name)

        found = compare(
            chunks,
            config.chosen,
            corrupted=config.corrupted,
            seconds=config.seconds,
            seed=config.seed,
            tick=bar.update,
            on_fitted=on_fitted,
        )
    picture = config.table.with_suffix(".png")
    shown = USUAL if config.prefixes is None else config.prefixes
    text = page(found, chunks, shown=shown, picture=picture.name, how=_how(config))
    write_whole(config.table, text)
    draw(found, chunks, picture)
    print(f"{text}\n{config.table}\n{picture}")


def _how(config: Tokenizers) -> str:
    folders = config.data if isinstance(config.data, tuple) else (config.data,)
    return (
        f"Data: {', '.join(folder.name for folder in folders)}; seed {config.seed}. Made by "
        "`python scripts/tokenizers.py`; date, machine and commit: LOG.md."
    )


if __name__ == "__main__":
    main()
