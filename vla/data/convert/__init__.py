"""Datasets of other formats made into LeRobotDataset v3 folders.

- `convert_v21`: LeRobot v2.1 folders; videos are put together without encoding them again
- `convert_hdf5`: robomimic's and LIBERO's HDF5 files

Both show progress, go on where they were stopped, and leave either a whole dataset or none.
"""

from vla.data.convert.hdf5 import Hdf5Settings, convert_hdf5
from vla.data.convert.v21 import convert_v21

__all__ = ["Hdf5Settings", "convert_hdf5", "convert_v21"]
