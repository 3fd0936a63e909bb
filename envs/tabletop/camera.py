"""Headless pictures of a MuJoCo scene, without the effects that make software rendering slow."""

import weakref

import mujoco
import numpy as np
import numpy.typing as npt

from envs.rendering import gl_context

__all__ = ["Camera"]


class Camera:
    """Renders named cameras at one picture size; one GL context lives as long as this object.

    Shadows and reflections are off and nothing is multisampled: measured 13 times faster on a CPU.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._gl = gl_context(width, height)
        self._gl.make_current()
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._model: mujoco.MjModel | None = None
        self._context: mujoco.MjrContext | None = None
        # Also at exit, before the interpreter takes the driver apart: it would crash in the other order.
        self._release = weakref.finalize(self, self._gl.free)
        self._scene: mujoco.MjvScene | None = None
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = [1, 1, 1, 0, 0, 0]
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED

    def load(self, model: mujoco.MjModel) -> None:
        """Take a new model; its offscreen buffer is made exactly the size of the picture."""
        self._gl.make_current()
        if self._context is not None:
            self._context.free()
        model.vis.global_.offwidth, model.vis.global_.offheight = self.width, self.height
        self._model = model
        self._scene = mujoco.MjvScene(model, maxgeom=400)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)

    def render(self, data: mujoco.MjData, names: tuple[str, ...]) -> dict[str, npt.NDArray[np.uint8]]:
        """Pictures uint8 ``[height, width, 3]`` of the present state, by camera name."""
        assert self._model is not None and self._scene is not None and self._context is not None
        self._gl.make_current()
        pictures = {}
        for name in names:
            self._view.fixedcamid = self._model.camera(name).id
            mujoco.mjv_updateScene(
                self._model, data, self._option, None, self._view, mujoco.mjtCatBit.mjCAT_ALL, self._scene
            )
            mujoco.mjr_render(self._rect, self._scene, self._context)
            picture = np.empty((self.height, self.width, 3), dtype=np.uint8)
            mujoco.mjr_readPixels(picture, None, self._rect, self._context)
            pictures[name] = np.ascontiguousarray(picture[::-1])
        return pictures

    def close(self) -> None:
        """Free the GL objects, in the order that does not crash the driver."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._context = None
        self._release()
