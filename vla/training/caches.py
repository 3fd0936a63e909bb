"""The decoded pictures that a training would read, built beforehand: no model, no tokenizer, no trainer."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vla.data.cache import open_cache
from vla.data.episodes import EpisodeDataset
from vla.data.web import open_source
from vla.data.web.pictures import WebPictures
from vla.origin import with_own_sizes
from vla.pretrained import load_processor
from vla.training.batch_maker import check_cameras, kept_size
from vla.training.intake import open_chunks
from vla.training.run_config import RunConfig

__all__ = ["Built", "build_caches"]


@dataclass(frozen=True)
class Built:
    """name: of what was decoded. bytes: on the disk. new: whether it was not there, or not whole."""

    name: str
    bytes: int
    seconds: float
    new: bool


def build_caches(config: RunConfig) -> Iterator[Built]:
    """One after another, as `BatchMaker` and `web_draws` would ask for them; nothing where the settings say
    that pictures are decoded as they are asked for. Raises BadInput."""
    model = with_own_sizes(config.model) if config.init is None else load_processor(config.init).config
    sources = {name: open_source(name, each) for name, each in config.web.items()}
    reading, image = config.reading, model.image
    if reading.cache:
        datasets = [EpisodeDataset(folder) for folder in config.data_folders]
        data = open_chunks(config, datasets, model)
        check_cameras(data, model)
        for camera in image.cameras:
            size = kept_size(data, camera, model)
            for dataset in datasets:
                watch = _Watch(dataset.root / ".cache")
                found = open_cache(
                    dataset, camera.name, size, image=image, every=reading.every, workers=reading.workers
                )
                yield watch.built(f"{dataset.root}, camera {camera.name}", found.nbytes)
    for name, source in sources.items() if config.mixture.cache else ():
        watch = _Watch(source.cache)
        pictures = WebPictures(source, image.cameras[0].size, image, workers=reading.workers)
        file = source.cache / f"pictures-{pictures.identity}.u8"
        yield watch.built(f"web.{name}", file.stat().st_size)


class _Watch:
    """How long a folder's caches take, and whether any is written."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.start = folder, time.perf_counter()
        self.before = self._held()

    def built(self, name: str, size: int) -> Built:
        return Built(name, size, time.perf_counter() - self.start, self._held() != self.before)

    def _held(self) -> set[tuple[str, int]]:
        return {(file.name, file.stat().st_mtime_ns) for file in self.folder.glob("*.u8")}
