"""From frame numbers to batches on the device: pictures from the cache, the processor, augmentation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vla.configuration import AugmentConfig, CameraConfig, FlowConfig, VLAConfig
from vla.data.augment import augment
from vla.data.batches import ChunkData, Gather
from vla.data.cache import open_cache
from vla.data.images import device_images, fits_device, host_images
from vla.errors import BadInput, did_you_mean
from vla.processor import Processor
from vla.training.run_config import RunConfig

__all__ = ["BatchMaker"]


class BatchMaker:
    """Frames -> a batch on the device. A training batch is augmented by its own random numbers, and some of
    its first actions are given, where the decoder is to learn to go on from them."""

    def __init__(
        self, config: RunConfig, data: ChunkData, processor: Processor, device: torch.device
    ) -> None:
        self.data, self.processor, self.device = data, processor, device
        self.augment, self.seed = config.augment, config.seed
        _check_augment(config.augment, processor.config)
        _check_cameras(data, processor.config)
        self.images: dict[str, list[Gather]] = {}
        mapped = {}
        for camera in processor.config.image.cameras:
            size = _kept(data, camera, processor.config)
            mapped[camera.name] = [
                open_cache(
                    source.dataset,
                    camera.name,
                    size,
                    image=processor.config.image,
                    every=config.reading.every,
                    workers=config.reading.workers,
                )
                for source in data.sources
            ]
        total = sum(images.nbytes for caches in mapped.values() for images in caches)
        memory = config.reading.memory
        resident = memory == "device" or (memory == "auto" and fits_device(total, device))
        for name, caches in mapped.items():
            self.images[name] = [device_images(c, device) if resident else host_images(c) for c in caches]
        self.where = f"{total / 1e9:.2f} GB on the {device.type if resident else 'host'}"
        self._points = _point_rows(processor.camera_names, data.point_cameras)

    def __call__(self, frames: npt.NDArray[np.int64], start: int | None = None) -> dict[str, Any]:
        """A batch; `start`, the number of its first sample, asks for augmentation and seeds it."""
        raw = self.data.gather(frames, self.images)
        unseen = np.zeros((len(frames), 1, 3), np.float32)
        raw["points"] = np.concatenate([raw["points"], unseen], 1)[:, self._points]
        batch = self.processor.batch(raw)
        if self.device.type == "cuda":
            batch = _to_device(batch, self.device)
        if start is None:
            return batch
        generator = torch.Generator(self.device)
        generator.manual_seed((self.seed << 40) + start)
        if self.augment is not None:
            batch = augment(batch, generator, self.augment)
        decoder = self.processor.config.decoder
        if isinstance(decoder, FlowConfig):
            batch["noise_seed"] = torch.tensor((self.seed << 40) + start)
        if forced := decoder.forced:
            count = (len(frames),)
            batch["forced"] = torch.randint(forced + 1, count, generator=generator, device=self.device)
        return batch


def _kept(data: ChunkData, camera: CameraConfig, model: VLAConfig) -> int | None:
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


def _check_cameras(data: ChunkData, model: VLAConfig) -> None:
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
