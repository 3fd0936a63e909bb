"""Which exceptions are a user's to mend, and the one line each becomes."""

import difflib
import errno
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vla.errors import BadInput, did_you_mean

__all__ = ["one_line"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WRONG_PLACE = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def one_line(
    error: BaseException, compose: Callable[[list[str]], DictConfig], overrides: Sequence[str]
) -> str | None:
    """The line for a mistake, or None for a fault of the program, whose traceback should be seen.

    compose: composes the same config with other overrides, to learn which keys there are.
    """
    for cause in _chain(error):
        if isinstance(cause, BadInput):
            return " ".join(str(cause).split())
    for cause in _chain(error):
        line = _system(cause) or _config(cause, compose, overrides)
        if line is not None:
            return " ".join(line.split())
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _system(error: BaseException) -> str | None:
    """A full disk or a forbidden place, also when a library only says so in words."""
    code = getattr(error, "errno", None)
    name = f" (writing {error.filename!r})" if isinstance(error, OSError) and error.filename else ""
    if code in _FULL or "No space left on device" in str(error):
        return f"no space left on the disk{name}; what was complete before is kept"
    if isinstance(error, OSError) and code in _FORBIDDEN and name:
        return f"not allowed to open {error.filename!r}: {error.strerror}"
    if isinstance(error, OSError) and code in _WRONG_PLACE and name:
        return f"cannot use {error.filename!r}: {error.strerror}"
    return None


def _config(
    error: BaseException, compose: Callable[[list[str]], DictConfig], overrides: Sequence[str]
) -> str | None:
    """hydra's and OmegaConf's complaints."""
    if isinstance(error, MissingConfigException):
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        if not group:
            return str(error)
        if name.startswith("submitit"):
            return f"{group}={name} needs hydra-submitit-launcher: pip install 'vla[cluster]'"
        options = error.options or []
        return f"config group '{group}' has no option '{name}'{did_you_mean(name, options)}"
    if isinstance(error, OverrideParseException):
        return f"cannot read the override {error.override!r}: write key=value, quote what holds , or :"
    if isinstance(error, HydraException):
        match = re.search(r"Could not (?:override|append|delete)[^']*'([^']+)'", str(error))
        if match is not None and match[1] in _known_keys(compose, overrides):
            return f"'{match[1]}' has no such key yet: add one with +{match[1]}.KEY=VALUE"
        if match is not None:
            return f"unknown config key '{match[1]}'{_nearest(match[1], compose, overrides)}"
        because = str(error.__cause__ or "").splitlines()[:1]
        return ": ".join([str(error).splitlines()[0], *because])
    if isinstance(error, RuntimeError) and '"srun"' in str(error):  # submitit's, where there is no Slurm
        return "hydra/launcher=cluster submits to Slurm, which is not here; cluster_dry shows the job instead"
    if isinstance(error, yaml.YAMLError):
        return f"a config file is not valid YAML: {error}"
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key or 'config'}: {str(error).splitlines()[0]}"
    if isinstance(error, ValueError) and _raised_in(error, "omegaconf"):
        # What it does not catch itself, such as the name of a key where a list wants the number of an item.
        wrong = [each for each in overrides if not _composes(compose, each)]
        return f"cannot apply {', '.join(wrong) or 'an override'}: {error}"
    return None


def _raised_in(error: BaseException, package: str) -> bool:
    """Whether the line that raised `error` is the package's own."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").split(".")[0] == package


def _composes(compose: Callable[[list[str]], DictConfig], override: str) -> bool:
    try:
        compose([override])
    except Exception:
        return False
    return True


def _nearest(key: str, compose: Callable[[list[str]], DictConfig], overrides: Sequence[str]) -> str:
    """`` (did you mean ...?)`` for a key, looking at its last part as well: `lr` finds `optim.lr`."""
    known = _known_keys(compose, overrides)
    leaves = {k.rpartition(".")[2]: k for k in sorted(known, reverse=True)}
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    near = near or difflib.get_close_matches(key.rpartition(".")[2], leaves, n=1, cutoff=0.8)
    return f" (did you mean '{leaves.get(near[0], near[0])}'?)" if near else did_you_mean(key, known)


def _known_keys(compose: Callable[[list[str]], DictConfig], overrides: Sequence[str]) -> list[str]:
    """Every dotted key of the config, composed with the overrides that are good by themselves."""
    good: list[str] = []
    config: Any = None
    for candidate in [None, *overrides]:
        trial = good if candidate is None else [*good, candidate]
        try:
            config = compose(trial)
        except Exception:
            continue
        good = trial
    return list(_flatten(config)) if config is not None else []


def _flatten(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in config:
        key = f"{prefix}{name!s}"
        yield key
        value = config._get_node(name)
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_missing():
            yield from _flatten(value, f"{key}.")
