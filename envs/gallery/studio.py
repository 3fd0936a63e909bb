"""Draws a `GalleryScene`: the picture, and which of its pixels show which thing.

Nothing is compiled or uploaded for a picture. Its geoms are written into MuJoCo's abstract scene, every field
anew, so that a picture does not depend on what was drawn before it. The sky is painted by numpy where nothing
stands. Shadows, reflections and multisampling are off (they cost 13 times the rest on a CPU).

Shapes: S edge of the square picture in pixels.
"""

# Before mujoco: it chooses how OpenGL is reached.
from envs.rendering import gl_context  # isort: skip
import weakref
from functools import cache

import mujoco
import numpy as np
import numpy.typing as npt

from envs.gallery.mjcf import stock
from envs.gallery.scene import FLOOR_HALF, GalleryScene, Item, Sky, Surface, View

__all__ = ["FLOOR", "SKY", "WALL", "Studio"]

type Array = npt.NDArray[np.float64]

SKY, FLOOR, WALL = 255, 254, 253
"""What a pixel shows that shows no item."""

_MESH = mujoco.mjtGeom.mjGEOM_MESH
_RENDER = mujoco.mjtRndFlag
_MOST = 40


class Studio:
    """Renders square pictures of one size; one GL context lives as long as this object."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._gl = gl_context(size, size)
        self._gl.make_current()
        self._stock = stock()
        model = self._stock.model
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        self._data = mujoco.MjData(model)
        mujoco.mj_forward(model, self._data)
        self._scene = mujoco.MjvScene(model, maxgeom=_MOST)
        self._scene.flags[_RENDER.mjRND_SHADOW] = 0
        self._scene.flags[_RENDER.mjRND_REFLECTION] = 0
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        # Also at exit, before the interpreter takes the driver apart: it would crash in the other order.
        self._release = weakref.finalize(self, self._gl.free)
        self._rect = mujoco.MjrRect(0, 0, size, size)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = 0

    def draw(self, scene: GalleryScene) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """The picture uint8 ``[S, S, 3]``, and for each pixel the number of its item, or SKY, FLOOR, WALL."""
        self._open(scene)
        for number, item in enumerate(scene.items):
            self._hang(item, number)
        if scene.floor is not None:
            self._spread(scene.floor, np.zeros(3), np.eye(3), FLOOR)
        if scene.wall is not None:
            place, frame = _wall(scene.view, scene.wall_distance)
            self._spread(scene.wall, place, frame, WALL)
        solid = self._scene.ngeom
        if scene.shadows:
            for item in scene.items:
                if item.on is None:
                    self._shade(item)
        picture = self._pixels(segments=False)
        # Shadows lie on what they darken and are no thing of their own.
        self._scene.ngeom = solid
        shown = _numbers(self._pixels(segments=True))
        empty = shown == SKY
        if empty.any():
            picture[empty] = _sky(scene.sky, self.size)[empty]
        return picture, shown

    def alone(self, scene: GalleryScene, number: int) -> int:
        """Pixels that one item would cover if no other stood before it."""
        self._open(scene)
        self._hang(scene.items[number], number)
        return int(np.count_nonzero(_numbers(self._pixels(segments=True)) == number))

    def close(self) -> None:
        """Free the GL objects, in the order that does not crash the driver."""
        if self._release.alive:
            self._gl.make_current()
            self._context.free()
            self._release()

    def _open(self, scene: GalleryScene) -> None:
        """An empty scene under the lamps, seen by the camera."""
        self._gl.make_current()
        model, data, lamps, view = self._stock.model, self._data, scene.lamps, scene.view
        model.vis.headlight.ambient[:] = lamps.ambient
        model.vis.headlight.diffuse[:] = lamps.head
        model.vis.headlight.specular[:] = 0.1
        model.light_diffuse[:] = lamps.colors
        model.light_specular[:] = 0.5 * lamps.colors
        data.light_xdir[:] = lamps.directions
        model.cam_fovy[0] = view.fov
        data.cam_xpos[0] = view.place
        right, up, forward = view.axes
        data.cam_xmat[0] = np.stack([right, up, -forward], axis=1).ravel()
        mujoco.mjv_updateScene(
            model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        self._scene.ngeom = 0

    def _hang(self, item: Item, number: int, alpha: float = 1.0) -> None:
        """One more geom. A frame may scale: MuJoCo hands it to OpenGL as it is, which renews the normals."""
        at, centre, turn = self._stock.mesh[item.shape]
        geom = self._scene.geoms[self._scene.ngeom]
        color = np.array([*item.rgb, alpha], dtype=np.float32)
        place, frame = item.place + item.frame @ centre, item.frame @ turn
        mujoco.mjv_initGeom(geom, _MESH, np.ones(3), place, frame.ravel(), color)
        geom.dataid, geom.segid, geom.objid = at, number, number
        geom.matid = self._stock.material[item.texture] if item.texture else -1
        geom.texcoord = 1 if item.texture else 0
        geom.specular, geom.shininess, geom.emission = item.shine, 0.6, 0.0
        geom.transparent = int(alpha < 1)
        geom.camdist = 0.0
        self._scene.ngeom += 1

    def _spread(self, surface: Surface, place: Array, frame: Array, number: int) -> None:
        c, s = np.cos(surface.turn), np.sin(surface.turn)
        turned = frame @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * FLOOR_HALF
        sheet = Item(f"sheet{surface.repeat}", "", surface.rgb, place, turned, surface.texture, shine=0.0)
        self._hang(sheet, number)

    def _shade(self, item: Item) -> None:
        low, high = item.points.min(axis=0), item.points.max(axis=0)
        middle, half = (low + high) / 2, (high - low) / 2
        frame = np.diag([1.15 * half[0], 1.15 * half[1], 0.002])
        spot = Item("shadow", "", (0.0, 0.0, 0.0), np.array([middle[0], middle[1], 0.004]), frame, shine=0.0)
        self._hang(spot, SKY, alpha=0.4)

    def _pixels(self, segments: bool) -> npt.NDArray[np.uint8]:
        self._scene.flags[_RENDER.mjRND_SEGMENT] = segments
        self._scene.flags[_RENDER.mjRND_IDCOLOR] = segments
        mujoco.mjr_render(self._rect, self._scene, self._context)
        pixels = np.empty((self.size, self.size, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._rect, self._context)
        return np.ascontiguousarray(pixels[::-1])


def _numbers(colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """MuJoCo draws segment n in the colour n + 1, lowest byte first; black is nothing. So 0 wraps to SKY."""
    return colors[..., 0] - np.uint8(1)


def _wall(view: View, distance: float) -> tuple[Array, Array]:
    """Place and frame of an upright sheet that faces the camera."""
    ahead = view.axes[2] * [1, 1, 0]
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    right, up = np.array([ahead[1], -ahead[0], 0.0]), np.array([0.0, 0.0, 1.0])
    return view.place + distance * ahead, np.stack([right, up, -ahead], axis=1)


@cache
def _grain(size: int) -> Array:
    return np.random.default_rng(0).standard_normal((size, size, 1))


def _sky(sky: Sky, size: int) -> npt.NDArray[np.uint8]:
    """A gradient uint8 ``[S, S, 3]``; the grain is the same in every picture, only stronger or weaker."""
    step = np.linspace(-1, 1, size)
    along = np.clip(0.5 + 0.5 * (np.cos(sky.tilt) * step[:, None] + np.sin(sky.tilt) * step[None]), 0, 1)
    top, bottom = np.array(sky.top), np.array(sky.bottom)
    color = top + (bottom - top) * along[..., None]
    if sky.grain:
        color += sky.grain * _grain(size)
    return (255 * np.clip(color, 0, 1)).astype(np.uint8)
