"""Measures of speed. Each file is one; nothing heavy is imported before it is asked for.

- `speeds`: collection, roll-out, a policy's latency, training; each a number or two
- `decoding`: this project's decoders against plain ones and against LeRobot's policies, at equal size
- `gpu`: the shipped policy and the decoders on a GPU
- `loading`: training samples read from a dataset, this project's readers beside LeRobot's
- `openvla7b`: an OpenVLA-shaped model of seven billion random weights, against the memory's bandwidth
"""

from policies.runtime.benchmark.speeds import MEASURES, Measure

__all__ = ["MEASURES", "Measure"]
