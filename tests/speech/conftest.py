"""Without the engine whose voices all else is made with there is nothing to be tested here."""

import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip this folder where flite is not installed, with the line that installs it."""
    if shutil.which("flite") is None:
        missing = pytest.mark.skip(reason="no voices: apt-get install flite (docs/speech.md)")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(missing)
