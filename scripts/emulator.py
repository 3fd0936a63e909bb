"""An SO-101 for those who have none: ``python scripts/emulator.py seed=3 link=outputs/so101``.

It prints the serial port that LeRobot's driver opens, and the control socket by which faults happen and
scenes change, one line of JSON each: ``{"do": "fault", "kind": "silent", "servo": 3}``.
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path

from envs.arms.servo_emulator.emulator import Emulator, EmulatorOptions
from vla.config import command

__all__ = ["Options", "main"]


@dataclass(frozen=True)
class Options(EmulatorOptions):
    """Options of the command; see conf/emulator.yaml."""

    calibration_dir: Path = Path("outputs/emulator")
    id: str = "emulated"
    show: Path | None = None


@command("emulator", Options)
def main(config: Options) -> None:
    """Live until interrupted."""
    import signal
    import threading

    from vla.folders import writable_folder

    if config.link is not None:
        writable_folder(config.link.parent)
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    given = {field.name: getattr(config, field.name) for field in fields(EmulatorOptions)}
    with Emulator(EmulatorOptions(**given)) as emulator:
        file = emulator.write_calibration(writable_folder(config.calibration_dir), config.id)
        print(f"port         {emulator.port}")
        print(f"control      {emulator.address}")
        print(f"calibration  {file}")
        print(f"task         {emulator.task}", flush=True)
        told = ""
        while not ending.wait(1.0):
            if config.show is not None:
                _show(config.show, emulator)
            verdict = emulator.verdict().outcome
            if verdict not in ("", told):
                print(f"scene        {verdict}", flush=True)
            told = verdict


def _show(path: Path, emulator: Emulator) -> None:
    """All cameras side by side, written aside and renamed."""
    import numpy as np
    from PIL import Image

    pictures = [picture.pixels for _, picture in sorted(emulator.pictures.items())]
    aside = path.with_name(f".{path.name}.{os.getpid()}.png")
    Image.fromarray(np.hstack(pictures)).save(aside)
    os.replace(aside, path)


if __name__ == "__main__":
    main()
