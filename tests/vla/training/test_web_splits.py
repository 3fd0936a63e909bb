"""In a training of several sources, what one is asked about no other one shows."""

import json
import sys
from pathlib import Path

import torch

for _folder in ("", "..", "../data", "../data/web"):
    sys.path.insert(0, str(Path(__file__).parent / _folder))

from synthetic_episodes import write_dataset
from test_mixture import config
from web_files import pictures_folder

from vla.configuration.web import CocoConfig, LlavaConfig
from vla.training.intake import draw, read

COUNT = 24


def test_held_pictures_are_drawn_from_no_source(tmp_path: Path) -> None:
    images = pictures_folder(tmp_path / "images", COUNT)
    asked = [{"from": "human", "value": "<image> what"}, {"from": "gpt", "value": "a thing"}]
    talks = [{"image": f"{n % COUNT}.png", "conversations": asked} for n in range(3 * COUNT)]
    (tmp_path / "talks.json").write_text(json.dumps(talks))
    named = [{"id": n, "file_name": f"{n}.png"} for n in range(COUNT)]
    said = [{"image_id": n, "caption": "a thing"} for n in range(COUNT)]
    (tmp_path / "captions.json").write_text(json.dumps({"images": named, "annotations": said}))
    web = {
        "captions": CocoConfig(path=str(tmp_path / "captions.json"), images=str(images)),
        "talks": LlavaConfig(path=str(tmp_path / "talks.json"), images=str(images), split=0.4),
    }
    arm = write_dataset(tmp_path / "arm", [8, 6], size=32)
    settings = config((arm, images), tmp_path / "run", web=web, augment=None)
    captions, talks_drawn = draw(settings, read(settings), torch.device("cpu")).web
    held = {int(record) % COUNT for record in talks_drawn.held}
    assert 0 < len(held) < COUNT and len(talks_drawn.held) == 3 * len(held)
    for source in (captions, talks_drawn):
        shown = {source.draw(number).record % COUNT for number in range(len(source))}
        assert shown == set(range(COUNT)) - held
    assert captions.validation(8) == [] and len(talks_drawn.validation(8)) == 8
