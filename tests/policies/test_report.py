"""The page: whole, self-contained, and safe against whatever a sentence holds."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from policies.runtime.metrics import summarize, swap_summary
from policies.runtime.plots import action_plot, interval_bar
from policies.runtime.report import write_page
from policies.runtime.results import EpisodeResult
from policies.runtime.video import POINT_COLORS, draw_points

VOID = {"meta", "rect", "line", "polyline"}


class Balanced(HTMLParser):
    """Fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def episodes() -> list[EpisodeResult]:
    rng = np.random.default_rng(0)
    outcomes = ["success", "wrong_object", "timeout", "something_new"]
    return [
        EpisodeResult(
            index=i,
            seed=i,
            skill="put_into",
            task="put <b>the</b> 'red' \"cube\" & more",
            outcome=outcome,
            success=outcome == "success",
            steps=30,
            control_hz=25.0,
            first_touched="blue cube",
            swapped=bool(i % 2),
            video=f"episode-{i:04d}.mp4" if i < 3 else None,
            actions=rng.normal(0, 40, (30, 6)).astype(np.float32),
            states=rng.normal(0, 40, (30, 6)).astype(np.float32),
        )
        for i, outcome in enumerate(outcomes)
    ]


def test_the_page_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    results = episodes()
    metrics = summarize(results, policy="a<b", seed=1, split="seen", swap=swap_summary(results))
    text = write_page(tmp_path, "title & more", metrics, results).read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not re.search(r"(https?:)?//[a-z]", text), "refers to the network"
    assert text.count("<video") == 3 and text.count("<svg") == 3 + 1
    assert "put &lt;b&gt;the&lt;/b&gt;" in text and "a&lt;b" in text
    assert "Wrong object" in text and "something_new" in text and "1 / 4" in text


def test_drawings_stay_inside_their_frame() -> None:
    values = np.linspace(-180, 180, 40, dtype=np.float32)[:, None].repeat(6, 1)
    plot = action_plot(values, -values)
    numbers = [
        float(y)
        for points in re.findall(r"points='([^']+)'", plot)
        for y in re.findall(r",([-\d.]+)", points)
    ]
    assert min(numbers) >= 0 and max(numbers) <= 132
    assert action_plot(np.zeros((0, 6), np.float32), np.zeros((0, 6), np.float32)) == ""
    for interval in ((0.0, 0.0), (0.2, 0.5), (1.0, 1.0)):
        assert "-" not in re.sub(r"aria-label", "", interval_bar(0.3, interval))


def test_rings_are_drawn_where_the_points_are() -> None:
    picture = np.full((72, 72, 3), 90, np.uint8)
    drawn = draw_points(picture, [[0.25, 0.5], [1.0, 0.5]])  # the second is at the edge: not seen
    changed = np.argwhere((drawn != picture).any(-1))
    assert abs(changed[:, 1].mean() - 18) < 1 and abs(changed[:, 0].mean() - 36) < 1
    assert (drawn.reshape(-1, 3) == POINT_COLORS[0]).all(-1).any()
    assert (picture == 90).all(), "the given picture was changed"
