"""Action tokenizers side by side on one dataset: size, loss, speed, joins, and what a wrong code does."""

from vla.tokens.comparison.chunks import Chunks, read_chunks
from vla.tokens.comparison.compare import Comparison, Row, compare, work
from vla.tokens.comparison.plot import draw
from vla.tokens.comparison.table import page

__all__ = ["Chunks", "Comparison", "Row", "compare", "draw", "page", "read_chunks", "work"]
