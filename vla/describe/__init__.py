"""What a model does with its inputs and what an action costs, before anything is trained or downloaded.

`describe(config)` builds the model on torch's ``meta`` device, where tensors have shapes and no numbers, and
lets it act once. So a model of seven billion parameters is described on a laptop, by its own code: no
arithmetic is repeated here that could come to differ from what the model does.
"""

from vla.describe.batch import dummy_batch
from vla.describe.description import Description
from vla.describe.measure import describe
from vla.describe.picture import draw
from vla.describe.text import table

__all__ = ["Description", "describe", "draw", "dummy_batch", "table"]
