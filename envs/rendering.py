"""Off-screen OpenGL for MuJoCo: chosen before `mujoco` is imported, and told in one line where it is missing.

`mujoco` reads MUJOCO_GL once, on import, and fails inside OpenGL where the system libraries are absent. So
this module is imported first: it chooses EGL on Linux (no display needed), and where even the library of
EGL is absent it switches MuJoCo's own OpenGL off, so that physics still runs and only pictures are refused.

``python -m envs.rendering`` checks a machine: it prints the line to run and exits with status 2 if need be.
"""

import atexit
import ctypes
import logging
import os
import sys
import weakref
from typing import Any

from vla.errors import BadInput

__all__ = ["INSTALL_LINE", "choose_backend", "gl_context"]

INSTALL_LINE = "apt-get update && apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri"
"""What Debian and Ubuntu need for rendering without a display or a GPU."""


def choose_backend() -> str:
    """Set MUJOCO_GL (a user's own choice stands) and return it; ``off`` where EGL is missing."""
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if sys.platform == "linux" and chosen in ("", "egl"):
        chosen = "egl" if _loads("libEGL.so.1") else "off"
        os.environ["MUJOCO_GL"] = chosen
    return chosen


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def gl_context(width: int, height: int) -> Any:
    """An off-screen GL context with `make_current()` and `free()`; sizes in pixels.

    Raises BadInput with the line that installs what is missing.
    """
    backend = choose_backend()
    if backend == "off":
        raise BadInput(_missing("libEGL.so.1 is not there"))
    try:
        context = _new_context(backend, width, height)
        context.make_current()
        _free_at_exit(context)
    # PyOpenGL raises half a dozen kinds of its own, and ImportError and AttributeError besides.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].split(". ")[0]
        raise BadInput(_missing(f"MUJOCO_GL={backend or 'unset'}: {reason}")) from error
    return context


_open: "weakref.WeakSet[Any]" = weakref.WeakSet()


def _free_at_exit(context: Any) -> None:
    """Free it before the driver goes: what was registered last runs first, and mujoco has done so by now."""
    if not _open:
        atexit.register(_free_all)
    _open.add(context)


def _free_all() -> None:
    for context in list(_open):
        context.free()


def _new_context(backend: str, width: int, height: int) -> Any:
    if backend != "egl":
        import mujoco

        return mujoco.GLContext(width, height)
    from mujoco.egl import GLContext

    class Context(GLContext):
        _context = None  # a context that could not start is freed without a second complaint

    return Context(width, height)


def _missing(reason: str) -> str:
    hint = f"; on Debian or Ubuntu run as root: {INSTALL_LINE}" if sys.platform == "linux" else ""
    return f"MuJoCo cannot draw off screen ({reason}){hint}"


choose_backend()
# It tells, at every start, that an optional speed-up is not installed.
logging.getLogger("OpenGL.acceleratesupport").setLevel(logging.WARNING)

if __name__ == "__main__":
    try:
        gl_context(16, 16).free()
    except BadInput as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
