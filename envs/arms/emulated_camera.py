"""A LeRobot camera that shows what an emulator's table looks like: ``{type: emulated, address: ...}``.

It is to LeRobot what its OpenCV camera is: a thread that keeps the newest picture, and when it was taken. The
classes are made when asked for, as LeRobot takes seconds to import.
"""

import functools
import importlib
import threading
import time
from dataclasses import dataclass
from typing import Any

from envs.arms.servo_emulator.client import EmulatorClient
from vla.errors import BadInput

__all__ = ["register"]


class _Pictures:
    """The thread, and what LeRobot asks of a camera."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        self.config = config
        self.latest_frame: Any = None
        self.latest_timestamp: float | None = None
        self.latest_number: int | None = None  # the emulator's count of its pictures
        self._new, self._stop = threading.Condition(), threading.Event()
        self._thread: threading.Thread | None = None
        self._client: EmulatorClient | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it looks."""
        return self._thread is not None and self._thread.is_alive()

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        """None that could be found: their address has to be known."""
        return []

    def connect(self, warmup: bool = True) -> None:
        """Begin to look. Raises ConnectionError if there is no emulator or no such camera."""
        config = self.config
        try:
            client = EmulatorClient(config.address)
            first = client.picture(config.view)
        except BadInput as error:
            raise ConnectionError(str(error)) from None
        if first.pixels.shape[:2] != (config.height, config.width):
            client.close()
            told = "x".join(map(str, first.pixels.shape[1::-1]))
            raise ConnectionError(f"its pictures have {told} pixels, not {config.width}x{config.height}")
        self._keep(first)
        self._stop.clear()
        self._client = client
        self._thread = threading.Thread(
            target=self._look, args=(client,), name="emulated camera", daemon=True
        )
        self._thread.start()

    def _look(self, client: EmulatorClient) -> None:
        newest = 0.0
        while not self._stop.is_set():
            try:
                picture = client.picture(self.config.view, newest, 0.5)
            except BadInput:
                return
            if picture.time > newest:
                newest = picture.time
                self._keep(picture)

    def _keep(self, picture: Any) -> None:
        with self._new:
            self.latest_frame, self.latest_number = picture.pixels, picture.number
            self.latest_timestamp = picture.time - (time.monotonic() - time.perf_counter())
            self._new.notify_all()

    def read(self) -> Any:
        """The next picture."""
        return self.async_read(10_000)

    def async_read(self, timeout_ms: float = 200) -> Any:
        """A picture newer than the present one. Raises TimeoutError."""
        with self._new:
            before = self.latest_timestamp
            if not self._new.wait_for(lambda: self.latest_timestamp != before, timeout_ms / 1000):
                raise TimeoutError(f"no picture from the emulator in {timeout_ms} ms")
            return self.latest_frame

    def read_latest(self, max_age_ms: int = 500) -> Any:
        """The newest picture. Raises TimeoutError if it is older than that, RuntimeError if nothing looks."""
        with self._new:
            frame, taken = self.latest_frame, self.latest_timestamp
        if not self.is_connected or taken is None:
            raise RuntimeError("the emulated camera is not connected, or the emulator is gone")
        if (time.perf_counter() - taken) * 1e3 > max_age_ms:
            raise TimeoutError(f"the newest picture is older than {max_age_ms} ms")
        return frame

    def disconnect(self) -> None:
        """Look no more."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(5.0)
        client, self._client = self._client, None
        if client is not None:
            client.close()


@functools.cache
def register() -> Any:
    """Make the type ``emulated`` known to LeRobot; the camera's config class."""
    cameras = importlib.import_module("lerobot.cameras")

    class EmulatedCamera(_Pictures, cameras.Camera):  # type: ignore[misc, name-defined]
        """See the module."""

    @cameras.CameraConfig.register_subclass("emulated")
    @dataclass(kw_only=True)
    class EmulatedCameraConfig(cameras.CameraConfig):  # type: ignore[misc, name-defined]
        """address: of the emulator's control socket. view: the camera there."""

        address: str
        view: str = "front"

    globals()["EmulatedCamera"] = EmulatedCamera  # where LeRobot looks for what a config is of
    EmulatedCameraConfig.__module__ = f"{__name__}.config"
    return EmulatedCameraConfig
