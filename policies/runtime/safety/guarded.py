"""An arm that can only be moved through the safety filter."""

from collections.abc import Mapping, Sequence

from policies.runtime.safety.config import Safety
from policies.runtime.safety.decision import Decision
from policies.runtime.safety.filter import SafetyFilter
from vla.arm import Arm, ArmSpec, Picture, Positions, Reading
from vla.errors import BadInput

__all__ = ["GuardedArm"]


class GuardedArm:
    """Owns `arm`: nothing else may call its ``command``, and no attribute of this gives the arm away.

    safety: settings of the filter. hz: commands a second; None: as many as suit the arm. As with any arm, one
    thread alone may call it, but for `pictures`.
    """

    def __init__(self, arm: Arm, safety: Safety, hz: float | None = None) -> None:
        self.__arm, self._safety, self._hz = arm, safety, hz
        self._filter: SafetyFilter | None = None
        self._moving = False  # whether the filter knows where the arm is

    @property
    def spec(self) -> ArmSpec:
        """What is fixed about the arm; complete only after `connect`."""
        return self.__arm.spec

    @property
    def filter(self) -> SafetyFilter:
        """The filter, after `connect`. Raises BadInput before."""
        if self._filter is None:
            raise BadInput("the arm is not connected")
        return self._filter

    def connect(self) -> None:
        """Connect the arm, which holds its pose, and make the filter for the limits it then has.

        Raises ArmFault, or BadInput for settings that do not fit; the arm is then disconnected again.
        """
        self.__arm.connect()
        try:
            self._filter = SafetyFilter(self.__arm.spec, self._safety, self._hz or self.__arm.spec.hz)
            self._filter.start(self.__arm.read().positions)
        except BaseException:
            self._filter = None
            self.__arm.disconnect()
            raise
        self._moving = False

    def read(self) -> Reading:
        """Where the joints are now."""
        return self.__arm.read()

    def pictures(self) -> Mapping[str, Picture]:
        """The newest picture of each camera; from any thread."""
        return self.__arm.pictures()

    def faults(self) -> Sequence[str]:
        """What the arm says is wrong with it."""
        return self.__arm.faults()

    def act(self, wanted: Positions | None, reading: Reading, dt_steps: int = 1) -> Decision:
        """Once a tick: send what the filter makes of `wanted`; None: brake, then stay. See `decide`.

        reading: of this tick. The first after `connect` or `hold` starts from the pose it says, at rest.
        """
        if not self._moving:
            self.filter.start(reading.positions)
            self._moving, dt_steps = True, 1
        decision = self.filter.decide(wanted, reading.positions, dt_steps)
        self.__arm.command(decision.command.copy())
        return decision

    def hold(self, reason: str) -> None:
        """The arm's own stop, at once and whatever state this is in; what follows starts from rest.

        For when the bus or the loop is in trouble. Where commands still reach the arm, ``act(None, ...)``
        brakes within the limits. reason: kept in `held_because`.
        """
        self.held_because = reason
        self._moving = False
        self.__arm.hold()

    held_because = ""

    def disconnect(self, release: bool = False) -> None:
        """Close everything. release: let go of the torque."""
        self._moving, self._filter = False, None
        self.__arm.disconnect(release)
