"""What every test relies on: one thread a library, off-screen rendering, fixed seeds.

The environment is set before anything heavy is imported: OpenMP and MuJoCo read it once, on loading.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A test must never reach out: whoever would download fails at once instead.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import random
import sys

import hypothesis
import numpy as np
import pytest

# Two shared cores are slow and uneven: a property is judged by its examples, never by the clock. The
# examples are the same on every run, so that a red suite is red again.
hypothesis.settings.register_profile("vla", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("vla")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every test, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
