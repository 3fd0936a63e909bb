"""From frame numbers and draws to batches on the device: pictures, the processor, augmentation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vla.answers import AnswerCoder
from vla.configuration import AugmentConfig, CameraConfig, FlowConfig, VLAConfig
from vla.data.augment import augment
from vla.data.batches import ChunkData, Gather
from vla.data.cache import open_cache
from vla.data.draws import Draws
from vla.data.images import device_images, fits_device, host_images
from vla.data.mixture import Drawn
from vla.data.pictures_source import open_pictures
from vla.data.web_draws import Told, WebDraws
from vla.errors import BadInput, did_you_mean
from vla.processor import Processor
from vla.training.run_config import RunConfig

__all__ = ["BatchMaker", "check_cameras", "kept_size"]


WEB_STREAM = 1 << 39
"""Sets the random numbers of a batch's web rows apart from those of its robot rows."""


class BatchMaker:
    """Frames -> a batch on the device. A training batch is augmented by its own random numbers, and some of
    its first actions are given, where the decoder is to learn to go on from them.

    Of a batch that is cut into parts, each part's rows are what they would be in the whole.
    """

    def __init__(
        self,
        config: RunConfig,
        data: ChunkData,
        processor: Processor,
        device: torch.device,
        web: Sequence[WebDraws] = (),
    ) -> None:
        self.web, self.batch = list(web), config.trainer.batch
        self.each_camera = config.mixture.cameras == "each"
        self.data, self.processor, self.device = data, processor, device
        self.augment, self.seed = config.augment, config.seed
        _check_augment(config.augment, processor.config)
        check_cameras(data, processor.config)
        self.images: dict[str, list[Gather]] = {}
        self.where = self._open(config) if config.reading.cache else self._open_undecoded(config)
        self._points = _point_rows(processor.camera_names, data.point_cameras)

    def _open(self, config: RunConfig) -> str:
        """Map the decoded pictures, or put them on the device; says where they are."""
        mapped, reading = {}, config.reading
        for camera in self.processor.config.image.cameras:
            how = self._how(camera, config)
            mapped[camera.name] = [open_cache(s.dataset, camera.name, **how) for s in self.data.sources]
        total = sum(images.nbytes for caches in mapped.values() for images in caches)
        resident = reading.memory == "device" or (
            reading.memory == "auto" and fits_device(total, self.device)
        )
        for name, caches in mapped.items():
            self.images[name] = [
                device_images(c, self.device) if resident else host_images(c) for c in caches
            ]
        return f"{total / 1e9:.2f} GB on the {self.device.type if resident else 'host'}"

    def _open_undecoded(self, config: RunConfig) -> str:
        """Decode pictures as they are asked for."""
        for camera in self.processor.config.image.cameras:
            how = self._how(camera, config)
            self.images[camera.name] = [
                open_pictures(source.dataset, camera.name, **how, cached=False)
                for source in self.data.sources
            ]
        return "decoded as they are asked for"

    def _how(self, camera: CameraConfig, config: RunConfig) -> dict[str, Any]:
        model, reading = self.processor.config, config.reading
        return {
            "size": kept_size(self.data, camera, model),
            "image": model.image,
            "every": reading.every,
            "workers": reading.workers,
        }

    def __call__(
        self, frames: npt.NDArray[np.int64], start: int | None = None, part: int = 0, parts: int = 1
    ) -> dict[str, Any]:
        """A batch of robots' frames; `start`, the number of its first sample, asks for augmentation and seeds
        it. Of every `parts` rows, the `part`-th."""
        raw = self.data.gather(frames[part::parts], self.images)
        unseen = np.zeros((len(raw["points"]), 1, 3), np.float32)
        raw["points"] = np.concatenate([raw["points"], unseen], 1)[:, self._points]
        batch = self._moved(self.processor.batch(raw))
        if start is None:
            return batch
        seed = (self.seed << 40) + start
        draws = self._draws(seed, len(frames), part, parts)
        if self.augment is not None:
            batch = augment(batch, draws, self.augment)
        decoder = self.processor.config.decoder
        if isinstance(decoder, FlowConfig):
            noise = self._draws(seed, len(frames), part, parts)
            batch["noise"], batch["noise_time"] = noise.normal(decoder.horizon, decoder.dim), noise.uniform(1)
        if forced := decoder.forced:
            batch["forced"] = draws.integers(forced + 1)
        return batch

    def mixed(self, drawn: Drawn, start: int, part: int = 0, parts: int = 1) -> dict[str, Any]:
        """A training batch of everything: a robot batch by itself where there is no web data."""
        if not self.web:
            return self(drawn.frames, start, part, parts)
        batch: dict[str, Any] = {}
        if len(drawn.frames[part::parts]):
            batch["robot_batch"] = self(drawn.frames, start, part, parts)
        part = (
            parts - 1 - part
        )  # from the other end: where rows are few, no part gets one of each kind, none another
        if own := drawn.web[part::parts]:
            for i, source in enumerate(self.web):
                source.expect([number for whose, number in own if whose == i])
            rows = [(self.web[source], self.web[source].draw(number)) for source, number in own]
            names = self.processor.camera_names
            web = self.told(rows, names[start // self.batch % len(names)] if self.each_camera else names[0])
            if self.augment is not None:
                draws = self._draws((self.seed << 40) + WEB_STREAM + start, len(drawn.web), part, parts)
                web = augment(web, draws, replace(self.augment, drop={}), names)
            batch["web_batch"] = web
        return batch

    def told(self, rows: Sequence[tuple[WebDraws, Told]], camera: str | None = None) -> dict[str, Any]:
        """A web batch of drawn turns, their pictures seen by `camera` (the model's first)."""
        pictures: list[npt.NDArray[np.uint8] | None] = [None] * len(rows)
        for source in self.web:
            own = [i for i, (whose, _) in enumerate(rows) if whose is source]
            if own:
                found, there = source.pictures(np.array([rows[i][1].record for i in own]))
                for i, picture, present in zip(own, found, there, strict=True):
                    pictures[i] = picture if present else None
        turns = [each.turns for _, each in rows]
        packed = any(source.pack for source, _ in rows)
        raw: dict[str, Any] = {
            "images": pictures,
            "camera": camera,
            "points": np.stack([each.points for _, each in rows]),
            "weight": np.array([source.config.loss for source, _ in rows], np.float32),
        }
        if packed:
            raw["prompt"] = [""] * len(rows)
            coder = AnswerCoder(self.processor.config, self.processor.tokenizer)
            pairs = [[(turn.prompt, turn.answer) for turn in each] for each in turns]
            raw["answer"] = [coder.pack(each)[0] for each in pairs]  # one row a picture; others another time
        else:
            raw["prompt"] = [each[0].prompt for each in turns]
            raw["answer"] = [each[0].answer for each in turns]
        return self._moved(self.processor.web_batch(raw))

    def _draws(self, seed: int, total: int, part: int, parts: int) -> Draws:
        generator = torch.Generator(self.device)
        generator.manual_seed(seed)
        return Draws(generator, total, part, parts)

    def _moved(self, batch: dict[str, Any]) -> dict[str, Any]:
        return _to_device(batch, self.device) if self.device.type == "cuda" else batch


def kept_size(data: ChunkData, camera: CameraConfig, model: VLAConfig) -> int | None:
    """In which size a camera's decoded pictures are kept; None: as they are. Tiles are cut out of the whole
    picture; and one that is smaller than the model wants it is enlarged later, as it would take more room."""
    shapes = {source.dataset.image_shape(camera.name) for source in data.sources}
    smaller = len(shapes) == 1 and max(next(iter(shapes))[:2]) < camera.size
    return None if model.image.max_tiles or smaller else camera.size


def _point_rows(cameras: tuple[str, ...], labelled: tuple[str, ...]) -> list[int]:
    """For each of the model's cameras which rows of the datasets' points are its two; -1, a row of zeros,
    where nobody labelled it."""
    rows = []
    for camera in cameras:
        place = 2 * labelled.index(camera) if camera in labelled else None
        rows += [-1, -1] if place is None else [place, place + 1]
    return rows


def check_cameras(data: ChunkData, model: VLAConfig) -> None:
    """Raise BadInput for a camera that a dataset lacks, and for pictures of a shape that will not do."""
    first, image = data.sources[0].dataset, model.image
    for dataset in (source.dataset for source in data.sources):
        for camera in image.cameras:
            if camera.name not in dataset.cameras:
                held = ", ".join(dataset.cameras) or "none"
                raise BadInput(
                    f"{dataset.root}: no camera '{camera.name}' (of model.image.cameras); it has {held}"
                )
            height, width, _ = shape = dataset.image_shape(camera.name)
            where = f"{dataset.root}: camera '{camera.name}' has pictures of {width} x {height} pixels"
            if image.max_tiles and shape != first.image_shape(camera.name):
                raise BadInput(f"{where}, other than in {first.root}: image.max_tiles needs one size")
            if image.max_tiles or height == width:
                continue
            if image.fit == "square":
                raise BadInput(f"{where}, no square: model.image.fit=stretch or letterbox makes it one")
            if image.fit == "letterbox" and camera.points and camera.name in data.point_cameras:
                raise BadInput(f"{where}: its labelled points do not fit model.image.fit=letterbox")


def _check_augment(config: AugmentConfig | None, model: VLAConfig) -> None:
    """Raise BadInput for what cannot be done to this model's batches."""
    if config is None:
        return
    if config.shift and model.image.max_tiles:
        raise BadInput("augment.shift must be 0 with image.max_tiles: tiles would move against each other")
    senses = [camera.name for camera in model.image.cameras]
    senses += ["audio"] if model.audio is not None else []
    senses += ["state"] if model.state is not None else []
    for name in config.drop:
        if name not in senses:
            hint = did_you_mean(name, senses)
            raise BadInput(f"augment.drop names '{name}', which is none of the model's senses{hint}")


def _to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Through page-locked memory, so that the copy runs beside the computation."""
    moved: dict[str, Any] = {}
    for name, value in batch.items():
        if isinstance(value, Mapping):
            moved[name] = _to_device(value, device)
        elif isinstance(value, torch.Tensor) and not value.is_cuda:
            moved[name] = value.pin_memory().to(device, non_blocking=True)
        else:
            moved[name] = value
    return moved
