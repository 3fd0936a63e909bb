"""What turns observations into actions, runs it on time and measures it."""

from pathlib import Path
from typing import Any

from policies.base import Policy
from vla.errors import BadInput, did_you_mean

__all__ = ["Policy", "find_checkpoint", "load", "shipped"]

PRETRAINED = Path(__file__).parent / "pretrained"
"""Policies that come with the package: one folder each."""


def shipped() -> list[str]:
    """Names of the policies that come with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def find_checkpoint(name_or_path: str) -> Path:
    """The folder of a learned policy: a path, or the name of a shipped one. Raises BadInput."""
    if not name_or_path:
        raise BadInput("policy is empty; give a checkpoint's folder or a name, for instance expert")
    for folder in (Path(name_or_path), PRETRAINED / name_or_path):
        if (folder / "config.json").is_file():
            return folder
    if Path(name_or_path).is_dir():
        raise BadInput(f"policy folder {name_or_path} has no config.json; is it a checkpoint?")
    known = ["expert", "random", *shipped()]
    raise BadInput(
        f"no policy '{name_or_path}': not a folder, not a known name{did_you_mean(name_or_path, known)}"
    )


def load(name_or_path: str, **options: Any) -> Policy:
    """``expert``, ``random``, a shipped policy's name, or the folder of a checkpoint."""
    if options and name_or_path in ("expert", "random"):
        raise BadInput(f"the policy '{name_or_path}' has no options, but got: {', '.join(sorted(options))}")
    if name_or_path == "expert":
        from policies.expert import ExpertPolicy

        return ExpertPolicy()
    if name_or_path == "random":
        from policies.random import RandomPolicy

        return RandomPolicy()
    from policies.vla import VLAPolicy  # imports torch

    return VLAPolicy.from_pretrained(find_checkpoint(name_or_path), **options)
