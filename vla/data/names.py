"""What each number of a feature is called, where its dataset says so."""

from collections.abc import Mapping
from typing import Any

__all__ = ["names_of"]


def names_of(feature: Mapping[str, Any]) -> list[str] | None:
    """What each number of a feature is, where its dataset says so: ``names`` is a list, or lists by name."""
    names = feature.get("names")
    if isinstance(names, Mapping):
        names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return names if len(names) == feature["shape"][-1] else None
