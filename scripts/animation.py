"""The moving picture of the README: ``python scripts/animation.py policy=PATH_OR_NAME out=demo.webp``.

It rolls the policy out on a few sentences, as ``vla demo`` does, and tiles the front camera's films with
their sentences: grey while the arm is at work, then green for success and red for anything else.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from policies.runtime.results import EpisodeResult
from policies.runtime.world import World
from vla.config import command
from vla.errors import BadInput

__all__ = ["Animation", "main"]

HZ, HOLD = 20, 1.5
"""Control steps a second; seconds for which the end stands still."""
CAPTION, GAP = 26, 6
RUNNING, GOOD, BAD, GROUND = (72, 80, 90), (24, 128, 78), (190, 50, 70), (255, 255, 255)


@dataclass(frozen=True)
class Animation:
    """Options of the command; see conf/animation.yaml."""

    sentences: list[str]
    env: World = field(default_factory=World)
    policy: str = "tabletop-small"
    seed: int = 10
    out: Path = Path("docs/media/demo.webp")
    size: int = 280
    columns: int = 3
    every: int = 1
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.out.suffix != ".webp":
            raise BadInput(f"out={self.out}: the name must end in .webp")
        if not self.sentences or self.size < 64 or self.columns < 1 or self.every < 1:
            raise BadInput("sentences must not be empty, size at least 64, columns and every at least 1")


@command("animation", Animation)
def main(config: Animation) -> None:
    """Run one episode a sentence and write the picture."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from envs.tabletop.language import parse
    from policies.runtime.rollout import Case, Rollout, check_policy, roll_out

    for sentence in config.sentences:
        parse(sentence)
    check_policy(config.policy)
    cases = [Case(i, config.seed + i, sentence=sentence) for i, sentence in enumerate(config.sentences)]
    with tempfile.TemporaryDirectory() as folder:
        how = Rollout(config.env, config.policy, out=Path(folder), videos=len(cases), video_size=config.size)
        results = list(roll_out(how, cases, config.workers or os.cpu_count() or 1))
        results.sort(key=lambda r: r.index)
        films = [_front(Path(folder) / "videos" / str(r.video), config) for r in results]
    for result in results:
        print(f"{result.outcome:<12} {result.steps / HZ:4.1f} s  {result.task}")
    length = max(map(len, films)) + round(HOLD * HZ / config.every)
    _write([_page(films, results, i, config) for i in range(length)], config)
    print(f"{config.out}: {length} frames, {config.out.stat().st_size / 1e6:.2f} MB")


def _front(path: Path, config: Animation) -> list[Image.Image]:
    """The front camera's half of a film, each `every`-th frame."""
    import av

    with av.open(str(path)) as film:
        frames = [frame.to_image() for i, frame in enumerate(film.decode(video=0)) if i % config.every == 0]
    return [frame.crop((0, 0, frame.width // 2, frame.height)) for frame in frames]


def _page(
    films: Sequence[list[Image.Image]], results: Sequence[EpisodeResult], at: int, config: Animation
) -> Image.Image:
    """All tiles at frame `at`; a film that has ended shows its last picture."""
    columns = min(config.columns, len(films))
    rows = -(-len(films) // columns)
    width, height = films[0][0].size
    size = (columns * (width + GAP) - GAP, rows * (height + CAPTION + GAP) - GAP)
    page = Image.new("RGB", size, GROUND)
    draw = ImageDraw.Draw(page)
    for number, (film, result) in enumerate(zip(films, results, strict=True)):
        row, column = divmod(number, columns)
        x, y = column * (width + GAP), row * (height + CAPTION + GAP)
        page.paste(film[min(at, len(film) - 1)], (x, y))
        over = at * config.every >= result.steps
        color = (GOOD if result.success else BAD) if over else RUNNING
        draw.rectangle((x, y + height, x + width - 1, y + height + CAPTION - 1), fill=color)
        middle = (x + width / 2, y + height + CAPTION / 2)
        draw.text(middle, result.task, (255, 255, 255), _font(result.task, width - 10), anchor="mm")
    return page


def _font(text: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest of a few sizes in which `text` fits into `width` pixels."""
    fonts = [ImageFont.load_default(size) for size in (13, 12, 11, 10, 9)]
    return next((font for font in fonts if font.getlength(text) <= width), fonts[-1])


def _write(pages: list[Image.Image], config: Animation) -> None:
    """Encode all pages aside, then give the file its name."""
    config.out.parent.mkdir(parents=True, exist_ok=True)
    aside = config.out.with_name(f".{config.out.name}")
    first, *rest = pages
    pace = {"duration": 1000 * config.every // HZ, "loop": 0}
    first.save(aside, "WEBP", save_all=True, append_images=rest, quality=70, method=4, **pace)
    os.replace(aside, config.out)


if __name__ == "__main__":
    main()
