"""An SO-101 without the SO-101: its servo bus on a pseudo-terminal, a simulated arm behind it.

LeRobot's unmodified driver opens the port, calibrates, reads and drives it; faults happen on command.
`packets` and `registers` are the protocol, `servo` the firmware, `bus` and `port` the wires, `twin` the arm,
`emulator` all of it, `server` and `client` what reaches it in another process.
"""

from envs.arms.servo_emulator.client import EmulatorClient
from envs.arms.servo_emulator.emulator import Emulator, EmulatorOptions
from envs.arms.servo_emulator.faults import BusFault, BusFaultKind, BusFaults

__all__ = ["BusFault", "BusFaultKind", "BusFaults", "Emulator", "EmulatorClient", "EmulatorOptions"]
