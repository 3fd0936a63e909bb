"""Checkpoints in the layout of `openvla/openvla-7b` (Kim et al. 2024, arXiv:2406.09246) as our model.

`layout.py` reads what the folder says of the model, `shards.py` where its tensors are, and `loading.py` puts
them in the places that they have here. Action ids and actions are then those of the published code, of which
only the layout is known here.
"""

from vla.openvla.loading import load_openvla, load_openvla_processor

__all__ = ["load_openvla", "load_openvla_processor"]
