"""Makes the helpers beside the tests of `vla` importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
