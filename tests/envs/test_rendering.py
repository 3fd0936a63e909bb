"""Where rendering cannot work, a user reads one line with the cure, and OpenGL is never entered."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envs import rendering
from vla.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]


def test_a_context_can_be_made_and_freed() -> None:
    context = rendering.gl_context(16, 16)
    context.make_current()
    context.free()


@pytest.mark.parametrize("asked", ["", "egl"])
def test_without_the_library_opengl_is_switched_off(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("MUJOCO_GL", asked)
    monkeypatch.setattr(rendering, "_loads", lambda _: False)
    assert rendering.choose_backend() == "off"
    assert os.environ["MUJOCO_GL"] == "off"
    with pytest.raises(BadInput) as caught:
        rendering.gl_context(16, 16)
    assert rendering.INSTALL_LINE in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_driver_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ImportError("Cannot initialize a EGL device display. This likely means\nmany things")

    monkeypatch.setattr(rendering, "_new_context", fail)
    with pytest.raises(BadInput) as caught:
        rendering.gl_context(16, 16)
    assert "Cannot initialize a EGL device display)" in str(caught.value)
    assert rendering.INSTALL_LINE in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_users_own_choice_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert rendering.choose_backend() == "osmesa"


def test_the_check_of_a_machine_passes_here() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "envs.rendering"], cwd=ROOT, capture_output=True, text=True
    )
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_backend_is_chosen_before_mujoco_is_imported() -> None:
    """mujoco reads MUJOCO_GL on import, and crashes there if it says egl and EGL is missing."""
    code = (
        "import sys, envs.tabletop.camera; order = list(sys.modules);"
        "print(order.index('envs.rendering') < order.index('mujoco'))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "True"
