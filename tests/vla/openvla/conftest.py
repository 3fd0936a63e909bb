"""One checkpoint for all tests of this folder."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from vla.model import VLA
from vla.processor import Processor


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from openvla_folder import publish

    return publish(tmp_path_factory.mktemp("openvla") / "checkpoint")


@pytest.fixture(scope="session")
def loaded(published: Any) -> tuple[VLA, Processor]:
    from vla.pretrained import load

    return load(published.folder)


@pytest.fixture
def copy(published: Any, tmp_path: Path) -> Path:
    """The checkpoint, to be changed; the weights are links, never to be written to."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in published.folder.iterdir():
        if file.suffix == ".safetensors":
            (folder / file.name).symlink_to(file)
        else:
            shutil.copy(file, folder)
    return folder
