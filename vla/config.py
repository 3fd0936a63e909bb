"""Configs and commands: hydra composes, dataclasses check, mistakes become one line.

A script under `scripts/` is a dataclass and a function::

    @dataclass(frozen=True)
    class Collect:
        episodes: int
        out: Path = Path("data/tabletop")
        env: TabletopOptions = field(default_factory=TabletopOptions)

    @command("collect", Collect)          # composes conf/collect.yaml
    def main(config: Collect) -> None:    # typed and checked; without a schema, the raw DictConfig
        import torch                      # heavy imports in here, so that --help and mistakes answer at once
        ...

    if __name__ == "__main__":
        main()

``main()`` reads the command line with hydra itself: overrides, ``-m``, ``--help``, ``--cfg job``,
``--config-dir MY_FOLDER`` (the user's own config folder, searched first) all work. ``main(["episodes=3"])``
is the same call from Python. Exit status: 0, 2 for a user's mistake, 130 when interrupted.
Tests use ``load_config("collect", ["episodes=3"], Collect)``.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, overload

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from vla.errors import BadInput
from vla.mistakes import one_line
from vla.structured import to_dataclass

__all__ = ["command", "compose", "config_dir", "load_config", "to_dataclass"]

Main = Callable[..., None]
VERSION_BASE = "1.3"

# Python puts a script's own folder first; there scripts/tokenizers.py would stand before the library.
sys.path.sort(key=lambda place: Path(place).resolve() == Path(__file__).resolve().parents[1] / "scripts")


def config_dir() -> Path:
    """The folder of the project's configs: `conf/` in a checkout, the package `vla_conf` when installed."""
    beside = Path(__file__).resolve().parent.parent
    for folder in (beside / "vla_conf", beside / "conf"):
        if folder.is_dir():
            return folder
    raise BadInput(f"the config folder is missing: neither vla_conf/ nor conf/ is in {beside}")


def compose(config_name: str, overrides: Sequence[str] = (), extra_dir: str | None = None) -> DictConfig:
    """Compose a config without running anything; `extra_dir` is a user's own config folder."""
    extra = [f"hydra.searchpath=[file://{Path(extra_dir).resolve()}]"] if extra_dir else []
    running = GlobalHydra.instance().hydra  # a job may compose another config
    GlobalHydra.instance().hydra = None
    try:
        with hydra.initialize_config_dir(str(config_dir()), version_base=VERSION_BASE):
            return hydra.compose(config_name, [*extra, *overrides])
    finally:
        GlobalHydra.instance().hydra = running


def load_config[T](config_name: str, overrides: Sequence[str], schema: type[T]) -> T:
    """Compose and check a config. Every mistake raises BadInput, as the command would print it."""
    try:
        return to_dataclass(compose(config_name, overrides), schema)
    except Exception as error:
        line = one_line(error, lambda rest: compose(config_name, rest), overrides)
        if line is None:
            raise
        raise BadInput(line) from error


@overload
def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Main]: ...
@overload
def command[T](config_name: str, schema: type[T]) -> Callable[[Callable[[T], None]], Main]: ...
def command(config_name: str, schema: type | None = None) -> Callable[[Callable[[Any], None]], Main]:
    """Turn `function(config)` into a command `main(argv=None)`; see the module's text."""

    def decorate(function: Callable[[Any], None]) -> Main:
        @functools.wraps(function)
        def main(argv: Sequence[str] | None = None) -> None:
            run_command(function, config_name, schema, list(sys.argv[1:] if argv is None else argv))

        return main

    return decorate


def run_command(
    function: Callable[[Any], None], config_name: str, schema: type | None, argv: list[str]
) -> None:
    """Run `function` under hydra; leave the process with one line and a status if the user is to act."""
    program = Path(sys.argv[0]).name if argv == sys.argv[1:] else config_name

    def task(cfg: DictConfig) -> None:
        # Mistakes are answered here, inside the job, because hydra prints its own lines on an exception.
        with _answer_mistakes(program, config_name, argv):
            function(cfg if schema is None else to_dataclass(cfg, schema))

    # hydra names the job (and so its log file) after the task's module.
    task.__module__ = f"vla_scripts.{config_name}"
    answering = _answer_mistakes(program, config_name, argv)
    with _sigterm_interrupts(), _hydra_command_line(program, argv), answering:
        hydra.main(version_base=VERSION_BASE, config_path=str(config_dir()), config_name=config_name)(task)()


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: what is being written is put away first."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt("terminated")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _hydra_command_line(program: str, argv: list[str]) -> Iterator[None]:
    """Give hydra its arguments, and have it raise errors instead of printing them."""
    before, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [before[0] or program, *argv]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # With another busy process beside it, torch's spinning threads make everything ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        yield
    finally:
        sys.argv = before
        if full_error is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


@contextlib.contextmanager
def _answer_mistakes(program: str, config_name: str, argv: list[str]) -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and a status; let real faults through."""
    try:
        yield
    except KeyboardInterrupt as stop:
        print(f"\n{program}: {str(stop) or 'interrupted'}", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # whoever read our lines (| head) has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        extra_dir, overrides = _split(argv)
        line = one_line(error, lambda rest: compose(config_name, rest, extra_dir), overrides)
        if line is None:
            raise
        print(f"{program}: {line}", file=sys.stderr)
        raise SystemExit(2) from None


def _split(argv: list[str]) -> tuple[str | None, list[str]]:
    """(the user's --config-dir, the overrides) of a command line."""
    from hydra._internal.utils import get_args_parser

    args, _ = get_args_parser().parse_known_args(argv)
    return args.config_dir, list(args.overrides)
