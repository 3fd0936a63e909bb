"""From a mapping that a user wrote to a typed dataclass, strictly: every mistake is one line with its place.

A YAML file or a command line knows only strings, numbers, lists and mappings. A component knows a dataclass.
`to_dataclass` is the one gate between them: unknown keys, missing values and wrong types never pass it.
"""

import dataclasses
import enum
import importlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vla.errors import BadInput, did_you_mean

__all__ = ["to_dataclass"]

MISSING = "???"
"""How OmegaConf writes a value that the user has to give."""

_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def to_dataclass[T](cfg: DictConfig | Mapping[str, Any], cls: type[T], place: str = "") -> T:
    """Build `cls`, a dataclass, from a config. Raises BadInput with one line naming the place.

    Field types may be str, int, float, bool, Path, Any, None, Literal, Enum, unions, list, tuple, dict and
    other dataclasses. A mapping with a ``_target_`` builds the dataclass named there, which must be a
    subclass of the field's own type: so a config group chooses among components.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig | ListConfig) else cfg
    except OmegaConfBaseException as error:  # a broken ${reference}
        key = f"{error.full_key}: " if error.full_key else ""
        raise BadInput(f"{key}{str(error).splitlines()[0]}") from None
    return cast(T, _dataclass(plain, cls, place))


def _convert(value: Any, hint: Any, place: str) -> Any:
    """`value` as the type `hint`; only lossless conversions."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if value == MISSING and isinstance(value, str):
        raise BadInput(f"'{place}' has no value: give one with {place}=...")
    if origin is Union or origin is types.UnionType:
        return _union(value, args, place)
    if origin is Literal:
        if value in args:
            return value
        raise BadInput(f"'{place}' cannot be {value!r}{did_you_mean(str(value), map(str, args))}")
    if dataclasses.is_dataclass(hint):
        return _dataclass(value, cast(type, hint), place)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enum(value, hint, place)
    if (origin or hint) in (list, tuple, Sequence, set, frozenset):
        return _sequence(value, origin or hint, args, place)
    if (origin or hint) in (dict, Mapping):
        return _mapping(value, args, place)
    return _scalar(value, hint, place)


def _wrong(place: str, wanted: str, value: Any) -> BadInput:
    return BadInput(f"'{place}' must be {wanted}, not {value!r}")


def _scalar(value: Any, hint: Any, place: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number:
        return float(value)
    if hint is int and number and value.is_integer():  # 1e6 on a command line is a float
        return int(value)
    if hint is Path and isinstance(value, str | Path) and str(value):  # '' would mean the present folder
        return Path(value)
    if hint is str and isinstance(value, int) and number:  # a folder may be called 2000
        return str(value)
    if hint in (None, type(None)):
        if value is None:
            return None
    elif hint not in (int, float) and isinstance(value, hint):
        return value
    raise _wrong(place, _describe(hint), value)


def _union(value: Any, arms: tuple[Any, ...], place: str) -> Any:
    for arm in arms:
        # The exact type first, so that 1 stays an int in `float | int`.
        if isinstance(arm, type) and type(value) is arm and typing.get_origin(arm) is None:
            return _convert(value, arm, place)
    if value is None and type(None) in arms:
        return None
    arms = tuple(arm for arm in arms if arm is not type(None))
    if len(arms) == 1:
        return _convert(value, arms[0], place)
    if isinstance(value, Mapping) and all(_kinds(arm) for arm in arms):
        return _by_kind(value, arms, place)
    for arm in arms:
        try:
            return _convert(value, arm, place)
        except BadInput:
            continue
    raise _wrong(place, " or ".join(_describe(arm) for arm in arms), value)


def _kinds(hint: Any) -> tuple[str, ...]:
    """The values that the field ``kind`` of a dataclass may have; none where it has no such field."""
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return ()
    return typing.get_args(typing.get_type_hints(hint).get("kind"))


def _by_kind(value: Mapping[str, Any], arms: tuple[Any, ...], place: str) -> Any:
    """The dataclass that the key ``kind`` chooses."""
    kinds = {kind: arm for arm in arms for kind in _kinds(arm)}
    if "kind" not in value:
        raise BadInput(f"'{place}' needs a kind: one of {', '.join(kinds)}")
    if str(value["kind"]) not in kinds:
        where = _join(place, "kind")
        raise BadInput(f"'{where}' cannot be {value['kind']!r}{did_you_mean(str(value['kind']), kinds)}")
    return _dataclass(value, kinds[str(value["kind"])], place)


def _describe(hint: Any) -> str:
    return _NAMES.get(hint) or str(getattr(hint, "__name__", hint))


def _enum(value: Any, hint: type[enum.Enum], place: str) -> enum.Enum:
    for member in hint:
        if value is member or value in (member.name, member.value):
            return member
    known = [str(member.value) for member in hint]
    raise BadInput(f"'{place}' cannot be {value!r}{did_you_mean(str(value), known)}")


def _sequence(value: Any, kind: Any, args: tuple[Any, ...], place: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong(place, "a list", value)
    if kind is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise _wrong(place, f"a list of {len(args)}", value)
        return tuple(_convert(v, args[i], f"{place}[{i}]") for i, v in enumerate(value))
    item = args[0] if args else Any
    items = [_convert(v, item, f"{place}[{i}]") for i, v in enumerate(value)]
    return items if kind is list else kind(items) if kind in (set, frozenset) else tuple(items)


def _mapping(value: Any, args: tuple[Any, ...], place: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(place, "a mapping", value)
    key_hint, item_hint = args or (Any, Any)
    return {_convert(k, key_hint, place): _convert(v, item_hint, _join(place, k)) for k, v in value.items()}


def _dataclass(value: Any, cls: type, place: str) -> Any:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise _wrong(place or cls.__name__, f"a mapping with the keys of {cls.__name__}", value)
    given = dict(value)
    cls = _chosen(given, cls, place)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    for key in given:
        if key not in fields:
            where = f" in '{place}'" if place else ""
            raise BadInput(f"unknown config key '{key}'{where}{did_you_mean(str(key), fields)}")
    arguments = {}
    for name, field in fields.items():
        where = _join(place, name)
        if name in given:
            arguments[name] = _convert(given[name], hints[name], where)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BadInput(f"'{where}' has no value: give one with {where}=...")
    try:
        return cls(**arguments)
    except ValueError as error:  # a component's own __post_init__ check
        raise BadInput(f"{place}: {error}" if place else str(error)) from error


def _chosen(given: dict[str, Any], cls: type, place: str) -> type:
    """The dataclass that ``_target_`` names (and take the key out of `given`), else `cls` itself."""
    target = given.get("_target_")
    if target is None or "_target_" in {f.name for f in dataclasses.fields(cls)}:
        return cls
    del given["_target_"]
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput(f"'{_join(place, '_target_')}': there is no {target!r} ({error})") from None
    if not (isinstance(found, type) and dataclasses.is_dataclass(found) and issubclass(found, cls)):
        raise BadInput(f"'{_join(place, '_target_')}': {target!r} is not a {cls.__name__}")
    return found


def _join(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)
