"""How chunks of actions become one stream of commands: queue, temporal ensembling, real-time chunking.

Time is counted in control steps. A chunk that answers the observation of step t has its row i due at step
t + i. With an inference delay of d steps it can be used from step t + d on; its first d rows are then past.
"""

from policies.runtime.chunking.config import Chunking, Kind, Terms
from policies.runtime.chunking.schedule import Schedule
from policies.runtime.chunking.stitcher import Command, Stitcher, build_stitcher

__all__ = ["Chunking", "Command", "Kind", "Schedule", "Stitcher", "Terms", "build_stitcher"]
