"""What the adapters of vendors' drivers share: an optional import, errors in one line, calls that end."""

import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from vla.arm import ArmFault, ArmSpec, Positions
from vla.errors import BadInput

__all__ = ["bounded", "driver", "one_line", "wanted"]


def driver(module: str, extra: str) -> Any:
    """The vendor's module. Raises BadInput, naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadInput(
            f"the driver '{module}' cannot be loaded ({one_line(error)}); "
            f"install it with pip install 'vla[{extra}]'"
        ) from None


def one_line(error: BaseException) -> str:
    """The first line of an error's text, without a full stop."""
    return (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")


def bounded[T](call: Callable[[], T], seconds: float, late: str) -> T:
    """What `call` returns or raises; ArmFault(`late`) where it takes longer than `seconds`.

    It runs in a thread of its own, which is left behind where the driver never comes back.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="driver", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise ArmFault(late)
    return done[0]


def wanted(positions: Positions, spec: ArmSpec) -> Positions:
    """A command as a float64 vector. Raises ArmFault unless it is one finite number a joint.

    Vendors' drivers take NaN as it comes, and limits are for their controllers to know.
    """
    found = np.array(positions, np.float64)
    if found.shape != (len(spec.joints),) or not np.isfinite(found).all():
        raise ArmFault(f"a command is {len(spec.joints)} finite numbers, not {found.tolist()}")
    return found
