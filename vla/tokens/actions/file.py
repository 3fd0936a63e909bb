"""A fitted action tokenizer as one JSON file, which says for what it was made.

Codes mean nothing without the chunk's shape, the robots and the normalisation that they were fitted under, so
all of that is in the file, and a reader says what it expects. The file carries the hash of its own content.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla.checks import at_least
from vla.configuration.tokenizer import TokenizerConfig
from vla.errors import BadInput
from vla.folders import write_whole
from vla.structured import to_dataclass
from vla.tokens.actions import build_tokenizer
from vla.tokens.actions.base import ActionTokenizer

__all__ = ["FORMAT", "load_tokenizer", "save_tokenizer"]

FORMAT = 1


@dataclass(frozen=True)
class _Content:
    """What a file holds."""

    format: int
    kind: str
    config: TokenizerConfig
    horizon: int
    dim: int
    robots: tuple[str, ...]
    statistics: str
    data: dict[str, Any]
    hash: str

    def __post_init__(self) -> None:
        at_least(self, 1, "horizon", "dim")
        if self.kind != self.config.kind:
            raise BadInput(f"kind={self.kind!r} and config.kind={self.config.kind!r} differ")


def save_tokenizer(
    path: str | Path, tokenizer: ActionTokenizer, *, robots: Sequence[str] = (), statistics: str = ""
) -> None:
    """Write a fitted tokenizer, whole or not at all.

    robots: the names of those whose chunks it was fitted to. statistics: the hash of the statistics that
    normalised them. Raises BadInput where nothing was fitted or the file cannot be written.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": tokenizer.kind,
        "config": dataclasses.asdict(tokenizer.config),
        "horizon": tokenizer.horizon,
        "dim": tokenizer.dim,
        "robots": list(robots),
        "statistics": statistics,
        "data": tokenizer.to_dict(),
    }
    content["hash"] = _hash(content)
    try:
        write_whole(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise BadInput(f"cannot write the action tokenizer {path}: {error.strerror}") from None


def load_tokenizer(
    path: str | Path,
    *,
    config: TokenizerConfig | None = None,
    horizon: int | None = None,
    dim: int | None = None,
    robots: Sequence[str] | None = None,
    statistics: str | None = None,
) -> ActionTokenizer:
    """Read what `save_tokenizer` wrote, ready to encode and decode.

    What is given is expected of the file: the very config, horizon, dim and statistics, and each of the
    robots among its own. Raises BadInput with one line, which names the file, for anything else, and for a
    file that is missing, damaged or of another format.
    """
    path = Path(path)
    found = _read(path)
    if config is not None:
        _expect_config(path, found.config, config)
    for name, own, wanted in (("horizon", found.horizon, horizon), ("dim", found.dim, dim)):
        if wanted is not None and own != wanted:
            raise BadInput(
                f"{path} holds a tokenizer of chunks with {name}={own}; {name}={wanted} is expected"
            )
    for robot in robots or ():
        if robot not in found.robots:
            names = ", ".join(map(repr, found.robots)) or "none that has a name"
            raise BadInput(f"{path} holds a tokenizer for the robots: {names}; {robot!r} is expected")
    if statistics is not None and found.statistics != statistics:
        raise BadInput(
            f"{path} holds a tokenizer of actions normalised with the statistics {found.statistics[:12]!r}; "
            f"{statistics[:12]!r} are expected"
        )
    try:
        return build_tokenizer(found.config, found.horizon, found.dim).restored(found.data)
    except BadInput as error:
        raise BadInput(f"the action tokenizer {path} cannot be used: {error}") from None


def _hash(content: dict[str, Any]) -> str:
    """sha256 of everything but the hash itself, as JSON gives it back."""
    plain = json.loads(json.dumps({name: value for name, value in content.items() if name != "hash"}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> _Content:
    """The file's content: of this format, whole and unchanged."""
    if not path.exists():
        raise BadInput(f"no action tokenizer: {path} does not exist")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read the action tokenizer {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the action tokenizer {path} is damaged: it is not JSON ({error})") from None
    if not isinstance(content, dict) or "format" not in content:
        raise BadInput(f"{path} is not an action tokenizer: it is JSON without a 'format'")
    if content["format"] != FORMAT:
        raise BadInput(
            f"{path} holds an action tokenizer of format {content['format']!r}; format {FORMAT} is expected"
        )
    if content.get("hash") != _hash(content):
        raise BadInput(
            f"the action tokenizer {path} was changed or damaged: its hash is {_hash(content)[:12]}, "
            f"not {str(content.get('hash'))[:12]}"
        )
    try:
        return to_dataclass(content, _Content)
    except BadInput as error:
        raise BadInput(f"the action tokenizer {path} cannot be used: {error}") from None


def _expect_config(path: Path, found: TokenizerConfig, expected: TokenizerConfig) -> None:
    if found.kind != expected.kind:
        raise BadInput(f"{path} holds a tokenizer of kind {found.kind!r}; {expected.kind!r} is expected")
    for field in dataclasses.fields(expected):
        own, wanted = getattr(found, field.name), getattr(expected, field.name)
        if own != wanted:
            raise BadInput(
                f"{path} holds a {found.kind} tokenizer with {field.name}={own!r}; "
                f"{field.name}={wanted!r} is expected"
            )
