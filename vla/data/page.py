"""A page to look at data: sample pictures with their texts, all in one HTML file."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from vla.data.web.sample import Box
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

__all__ = ["Card", "Plot", "Section", "check_place", "page", "write_page"]

_STYLE = """
:root{--ink:#1d2733;--quiet:#66727f;--rule:#e4e8ec;--ground:#f5f6f8;--blue:#2f6fed}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,sans-serif}
main{max-width:1180px;margin:0 auto;padding:36px 20px 80px}
h1{font-size:28px;margin:0 0 6px;letter-spacing:-.02em}
h2{font-size:19px;margin:36px 0 10px;overflow-wrap:anywhere}
.quiet{color:var(--quiet);font-size:13.5px;margin:0;overflow-wrap:anywhere}
pre,table{background:#fff;border:1px solid var(--rule);border-radius:12px;padding:14px 18px;margin:0}
pre{overflow-x:auto;font-size:13px;line-height:1.45}
table{display:block;font-size:14px;border-spacing:0}
td{padding:2px 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child{color:var(--quiet);padding-right:18px;min-width:110px;overflow-wrap:normal}
.damage{background:#fdecea;border:1px solid #f3c2bc;border-radius:12px;padding:10px 16px;margin:0 0 10px;
  overflow-wrap:anywhere}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));gap:16px;margin-top:14px}
article{background:#fff;border:1px solid var(--rule);border-radius:12px;overflow:hidden}
.pictures{display:flex;gap:2px;background:#dfe3e8}
figure{flex:1;min-width:0;margin:0;position:relative}
figure img{width:100%;display:block}
figcaption{position:absolute;left:6px;bottom:6px;padding:0 6px;border-radius:6px;font-size:12px;
  color:#fff;background:#1d2733b0}
.body{padding:10px 14px 12px}
.body p{margin:0 0 6px;overflow-wrap:anywhere}
.asked{color:var(--quiet)}
svg{display:block;width:100%;height:72px;background:var(--ground);border-radius:6px;margin:4px 0}
.legend{font-size:12px;line-height:1.6}
audio{display:block;width:100%;height:36px;margin:0 0 8px}
.legend span{white-space:nowrap;margin-right:10px}
"""
_SIDE = 256
"""Pixels that a picture is shown at."""
_COLORS = ("#2f6fed", "#e2973a", "#1f9d61", "#c2417c", "#7a55c7", "#0e9aa7", "#8a6d3b", "#555f6b")


@dataclass(frozen=True)
class Plot:
    """Numbers over the steps of a chunk. values: float [H, D], NaN where there are none. low, high: float
    [D], the bottom and the top for each number, as in the whole data set. names: [D], or none."""

    values: npt.NDArray[np.floating]
    low: npt.NDArray[np.floating]
    high: npt.NDArray[np.floating]
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Card:
    """One sample. lines: (what was asked or is told, the answer), either may be empty. boxes: of the first
    picture. captions: of the pictures. points: for each picture (x, y), in 0..1 of it. sound: the address
    of one that a player is shown for."""

    pictures: Sequence[npt.NDArray[np.uint8]]
    lines: Sequence[tuple[str, str]]
    boxes: Sequence[Box] = ()
    note: str = ""
    captions: Sequence[str] = ()
    points: Sequence[Sequence[tuple[float, float]]] = ()
    plot: Plot | None = None
    sound: str = ""


@dataclass(frozen=True)
class Section:
    """A data set or source: a table (plain text, or rows of what and its value), what is damaged, samples."""

    title: str
    table: str | Sequence[tuple[str, str]]
    cards: Sequence[Card]
    damage: Sequence[str] = ()


def check_place(path: Path | None) -> None:
    """Raise BadInput where no page can be written: before anything is read for it."""
    if path is None:
        return
    if path.is_dir():
        raise BadInput(f"page={path} is a folder; give a file, such as page={path / 'page.html'}")
    writable_folder(path.parent)


def write_page(path: Path, title: str, note: str, sections: Sequence[Section]) -> None:
    """Write the file whole."""
    write_whole(path, page(title, note, sections))


def page(title: str, note: str, sections: Sequence[Section]) -> str:
    """The whole file."""
    body = "".join(_section(section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>{html.escape(title)}</h1><p class="quiet">{html.escape(note)}</p>{body}</main></body></html>\n'
    )


def _section(section: Section) -> str:
    cards = "".join(_card(card) for card in section.cards)
    damage = "".join(f'<p class="damage">{html.escape(line)}</p>' for line in section.damage)
    grid = f'<div class="grid">{cards}</div>' if cards else ""
    return f"<h2>{html.escape(section.title)}</h2>{damage}{_table(section.table)}{grid}"


def _table(table: str | Sequence[tuple[str, str]]) -> str:
    if not table:
        return ""
    if isinstance(table, str):
        return f"<pre>{html.escape(table)}</pre>"
    rows = "".join(
        f"<tr><td>{html.escape(what)}</td><td>{html.escape(value)}</td></tr>" for what, value in table
    )
    return f"<table>{rows}</table>"


def _card(card: Card) -> str:
    pictures = "".join(_figure(card, i) for i in range(len(card.pictures)))
    shown = f'<div class="pictures">{pictures}</div>' if pictures else ""
    lines = "".join(
        f"<p>{f'<span class=asked>{html.escape(asked)}</span><br>' if asked else ''}{html.escape(said)}</p>"
        for asked, said in card.lines
    )
    plot = _plot(card.plot) if card.plot is not None else ""
    note = f'<p class="quiet">{html.escape(card.note)}</p>' if card.note else ""
    sound = f'<audio controls preload="none" src="{html.escape(card.sound)}"></audio>' if card.sound else ""
    return f'<article>{shown}<div class="body">{sound}{lines}{plot}{note}</div></article>'


def _figure(card: Card, number: int) -> str:
    points = card.points[number] if number < len(card.points) else ()
    url = _data_url(_drawn(card.pictures[number], () if number else card.boxes, points))
    caption = card.captions[number] if number < len(card.captions) else ""
    told = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{html.escape(caption)}" src="{url}">{told}</figure>'


def _plot(plot: Plot) -> str:
    """A line for each number, from the data set's least (bottom) to its greatest (top)."""
    span = np.where(plot.high > plot.low, plot.high - plot.low, 1.0)
    heights = np.clip((plot.values - plot.low) / span, 0.0, 1.0)
    step = 100 / max(1, len(heights) - 1)
    lines, legend = [], []
    for i, column in enumerate(heights.T):
        color = _COLORS[i % len(_COLORS)]
        shown = np.flatnonzero(np.isfinite(column)).tolist()
        places = [f"{n * step:.1f},{37 - 34 * column[n]:.1f}" for n in shown]
        if len(places) == 1:  # a single step is shown as a short stroke
            places.append(f"{shown[0] * step + 2:.1f},{37 - 34 * column[shown[0]]:.1f}")
        lines.append(
            f'<polyline points="{" ".join(places)}" fill="none" stroke="{color}" stroke-width="1.6" '
            'vector-effect="non-scaling-stroke"/>'
        )
        if i < len(plot.names):
            legend.append(f'<span style="color:{color}">{html.escape(plot.names[i])}</span> ')
    named = f'<p class="legend">{"".join(legend)}</p>' if legend else ""
    return f'<svg viewBox="0 0 100 40" preserveAspectRatio="none">{"".join(lines)}</svg>{named}'


def _drawn(
    picture: npt.NDArray[np.uint8], boxes: Sequence[Box], points: Sequence[tuple[float, float]]
) -> Image.Image:
    """Enlarged if it is small, with frames around the boxes and rings at the points."""
    image = Image.fromarray(picture)
    scale = _SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for i, box in enumerate(boxes):
        left, top, right, bottom = box.left, box.top, box.right, box.bottom
        corners = (left * size[0], top * size[1], right * size[0] - 1, bottom * size[1] - 1)
        draw.rectangle(corners, outline=_COLORS[i % len(_COLORS)], width=2)
    for i, (x, y) in enumerate(points):
        ring = (x * size[0] - 6, y * size[1] - 6, x * size[0] + 6, y * size[1] + 6)
        draw.ellipse(ring, outline="white", width=4)
        draw.ellipse(ring, outline=_COLORS[i % len(_COLORS)], width=2)
    return image


def _data_url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
