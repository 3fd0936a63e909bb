"""Pictures for an arm that has no cameras of its own, such as a vendor's simulator: a twin that follows it.

The twin is the arm's `Body` on a table with a few things on it. It has no physics of its own: its joints are
where the arm says its joints are. A thread of its own draws, as an OpenGL context belongs to one thread;
`pictures()` hands out what was drawn last and waits for nothing. It stops drawing when nobody says anything
new, so that a picture's age tells the age of what it shows.

What it cannot show is what the arm does to things: the table is scenery.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla.arm import ArmFault, Body, Picture, Positions
from vla.errors import BadInput

__all__ = ["Twin", "TwinCameras", "posable", "pose"]

_THINGS = (("cube", (0.38, 0.12), "0.85 0.2 0.2 1"), ("block", (0.45, -0.1), "0.2 0.4 0.85 1"))


@dataclass(frozen=True)
class Twin:
    """height, width: of each picture, pixels. hz: pictures a second. front: where the front camera is;
    look_at: what it looks at, metres. The model's own cameras, such as ``wrist``, are beside it.
    """

    height: int = 128
    width: int = 128
    hz: float = 20.0
    front: tuple[float, float, float] = (1.2, 0.0, 0.7)
    look_at: tuple[float, float, float] = (0.3, 0.0, 0.15)

    def __post_init__(self) -> None:
        if not (8 <= self.height <= 2048 and 8 <= self.width <= 2048 and 0 < self.hz <= 200):
            raise BadInput(
                f"cameras: {self.height} x {self.width} pixels at {self.hz} Hz: 8 to 2048 "
                "pixels and above 0 to 200 Hz are needed"
            )
        if np.allclose(self.front[:2], self.look_at[:2]):
            raise BadInput("cameras: front stands right above look_at; move one of them in x or y")


def pose(model: Any, data: Any, body: Body, positions: Positions) -> None:
    """Put the model's joints where the arm's `positions` are, and what follows them, and all of its parts."""
    import mujoco

    for name, scale, offset, position in zip(body.joints, body.scale, body.offset, positions, strict=True):
        if name:
            data.qpos[model.joint(name).qposadr[0]] = scale * position + offset
    for index in range(model.neq):
        if model.eq_type[index] == mujoco.mjtEq.mjEQ_JOINT and model.eq_obj2id[index] >= 0:
            one, other = (model.jnt_qposadr[ids[index]] for ids in (model.eq_obj1id, model.eq_obj2id))
            moved = data.qpos[other] - model.qpos0[other]
            data.qpos[one] = model.qpos0[one] + np.polyval(model.eq_data[index, 4::-1], moved)
    mujoco.mj_kinematics(model, data)


def posable(body: Body) -> tuple[Any, Any]:
    """The body's MuJoCo model and its data."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(body.mjcf, dict(body.assets))
    return model, mujoco.MjData(model)


class TwinCameras:
    """See the module. sizes: camera -> (height, width)."""

    def __init__(self, options: Twin, body: Body) -> None:
        self.options, self._body = options, body
        self._model = _scene(options, body)
        names = tuple(self._model.camera(index).name for index in range(self._model.ncam))
        self.sizes = {name: (options.height, options.width) for name in names}
        self._news = threading.Condition()
        self._positions: tuple[Positions, float] | None = None
        self._pictures: Mapping[str, Picture] = {}
        self._trouble = ""
        self._over = False
        self._thread = threading.Thread(target=self._run, name="twin", daemon=True)

    def start(self, positions: Positions) -> None:
        """Draw the first pictures; returns when they are there. Raises ArmFault (no OpenGL)."""
        self.follow(positions)
        self._thread.start()
        with self._news:
            there = self._news.wait_for(lambda: bool(self._pictures) or self._trouble, 30)
        if not there or self._trouble:
            self.close()
            raise ArmFault(f"the cameras' twin cannot draw: {self._trouble or 'no picture within 30 s'}")

    def follow(self, positions: Positions) -> None:
        """The arm is here now. Returns at once."""
        with self._news:
            self._positions = np.array(positions, np.float64), time.monotonic()
            self._news.notify_all()

    def pictures(self) -> Mapping[str, Picture]:
        """The newest, at once; their time is that of the positions they show."""
        return self._pictures

    def close(self) -> None:
        """End the thread and its OpenGL context."""
        with self._news:
            self._over = True
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        try:
            self._draw()
        except Exception as error:
            self._trouble = (str(error) or type(error).__name__).splitlines()[0]
            with self._news:
                self._news.notify_all()

    def _draw(self) -> None:
        import mujoco

        from envs.tabletop.camera import Camera

        options, data = self.options, mujoco.MjData(self._model)
        camera, drawn, count = Camera(options.width, options.height), 0.0, 0
        try:
            camera.load(self._model)
            while True:
                began = time.monotonic()
                with self._news:
                    self._news.wait_for(lambda: self._over or self._since(drawn))  # noqa: B023
                    if self._over:
                        return
                    assert self._positions is not None
                    positions, drawn = self._positions
                pose(self._model, data, self._body, positions)
                mujoco.mj_camlight(self._model, data)
                pixels = camera.render(data, tuple(self.sizes))
                with self._news:
                    count += 1
                    self._pictures = {name: Picture(pixels[name], drawn, count) for name in self.sizes}
                    self._news.notify_all()
                    rest = began + 1 / options.hz - time.monotonic()
                    self._news.wait_for(lambda: self._over, max(rest, 0.0))
        finally:
            camera.close()

    def _since(self, drawn: float) -> bool:
        return self._positions is not None and self._positions[1] > drawn


def _scene(options: Twin, body: Body) -> Any:
    """The body on a table under a light, with a front camera."""
    import mujoco

    from envs.rendering import choose_backend

    choose_backend()
    spec = mujoco.MjSpec.from_string(body.mjcf, assets=dict(body.assets))
    world = spec.worldbody
    world.add_light(pos=[0.5, 0.5, 2.0], dir=[-0.2, -0.2, -1.0])
    world.add_light(pos=[1.5, -1.0, 1.5], dir=[-0.7, 0.5, -0.7])
    world.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 0.1], rgba=[0.72, 0.66, 0.58, 1]
    )
    for name, (x, y), colour in _THINGS:
        rgba = [float(value) for value in colour.split()]
        world.add_geom(
            name=f"thing {name}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.02] * 3,
            pos=[x, y, 0.02],
            rgba=rgba,
        )
    if all(camera.name != "front" for camera in spec.cameras):
        world.add_camera(name="front", pos=list(options.front), quat=_towards(options), fovy=50)
    return spec.compile()


def _towards(options: Twin) -> list[float]:
    """The front camera's orientation: its -z at `look_at`, its x level."""
    import mujoco

    back = np.subtract(options.front, options.look_at)
    back /= np.linalg.norm(back)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.column_stack([right, np.cross(back, right), back]).ravel())
    return [float(value) for value in quaternion]
