"""From a batch to an answer (`engine.generate`), within what limits it may be."""

from vla.generation.engine import Generated, Sampling, generate
from vla.generation.memory import Memory
from vla.generation.noise import Noise

__all__ = ["Generated", "Memory", "Noise", "Sampling", "generate"]
