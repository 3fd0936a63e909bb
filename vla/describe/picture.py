"""Who may attend to whom, as a picture: rows look at columns, coloured by the sense that is looked at.

Every segment is drawn at least so wide that its name fits; where a mask changes inside a segment (a causal
one), that shows as a slope. What gated cross-attention looks at stands to the right, in stripes.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vla.describe.description import Description, Pass

__all__ = ["draw"]

SIDE = 560  # pixels for a whole sequence, if its segments are not too many
LEAST = 30  # pixels for the shortest segment
BESIDE = 120  # pixels at most for what stands beside the sequence
MARGIN = 12
TEXT = 14
INK, PAPER, NOTHING, LINE = (30, 30, 40), (255, 255, 255), (240, 240, 242), (255, 255, 255)
ANSWER = (60, 60, 75)
COLOURS = [
    (31, 119, 180), (214, 96, 20), (44, 140, 60), (148, 80, 180), (200, 50, 60),
    (20, 150, 160), (160, 120, 20), (210, 90, 150),
]  # fmt: skip


def draw(found: Description, path: Path) -> None:
    """Write the picture of a description as PNG: one panel a pass, side by side."""
    names = [name for each in found.passes for name, _ in [*each.segments[:-1], *each.beside]]
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}
    colour["answer"] = ANSWER
    panels = [_panel(each, colour) for each in found.passes]
    title = f"{found.name}: who may attend to whom"
    note = "rows look at columns; grey: not at all" + ("; striped: gated" if found.passes[0].beside else "")
    head = 2 * TEXT + 3 * MARGIN
    width = max(sum(panel.width for panel in panels), _wide(title, TEXT + 4) + 2 * MARGIN)
    picture = Image.new("RGB", (width, head + max(panel.height for panel in panels)), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((MARGIN, MARGIN), title, INK, _font(TEXT + 4))
    pen.text((MARGIN, 2 * MARGIN + TEXT), note, (110, 110, 120), _font(TEXT))
    left = 0
    for panel in panels:
        picture.paste(panel, (left, head))
        left += panel.width
    picture.save(path, format="PNG")


def _panel(each: Pass, colour: dict[str, tuple[int, int, int]]) -> Image.Image:
    rows = each.segments
    columns = [*rows, *each.beside]
    total = sum(count for _, count in rows)
    size = {name: max(LEAST, round(SIDE * count / total)) for name, count in columns}
    size |= {name: min(size[name], BESIDE) for name, _ in each.beside}
    label = {name: f"{name} ({count:,})" for name, count in columns}
    border = max(_wide(text, TEXT) for text in label.values()) + 2 * MARGIN
    width = border + sum(size[name] for name, _ in columns) + MARGIN
    panel = Image.new("RGB", (width, border + sum(size[name] for name, _ in rows) + MARGIN), PAPER)
    mask = each.mask.numpy()
    y, first_row = border, 0
    for number, (row, count) in enumerate(rows):
        panel.paste(_label(label[row], colour[row]), (MARGIN, y + size[row] // 2 - TEXT // 2 - 2))
        x, first_column = border, 0
        for column, width_ in rows:
            block = mask[first_row : first_row + count, first_column : first_column + width_]
            panel.paste(_block(block, (size[column], size[row]), colour[column]), (x, y))
            x, first_column = x + size[column], first_column + width_
        for column, _ in each.beside:
            extent = size[column], size[row]
            nothing = _block(np.zeros((1, 1), np.bool_), extent, NOTHING)
            panel.paste(_stripes(extent, colour[column]) if each.gated(number) else nothing, (x, y))
            x += size[column]
        y, first_row = y + size[row], first_row + count
    x = border
    for column, _ in columns:
        upright = _label(label[column], colour[column]).rotate(90, expand=True)
        panel.paste(
            upright, (x + size[column] // 2 - upright.width // 2, border - MARGIN // 2 - upright.height)
        )
        x += size[column]
    return panel


def _block(mask: np.ndarray, size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    """A part of the mask, stretched to `size`, with a line around it."""
    shade = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    picture = Image.composite(Image.new("RGB", size, colour), Image.new("RGB", size, NOTHING), shade)
    ImageDraw.Draw(picture).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=LINE)
    return picture


def _stripes(size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    across = np.add.outer(np.arange(size[1]), np.arange(size[0])) // 4 % 2 == 0
    return _block(across, size, colour)


def _label(text: str, colour: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (_wide(text, TEXT) + 2, TEXT + 5), PAPER)
    ImageDraw.Draw(picture).text((0, 0), text, colour, _font(TEXT))
    return picture


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _wide(text: str, size: int) -> int:
    return round(_font(size).getlength(text)) + 1
