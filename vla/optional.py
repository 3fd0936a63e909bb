"""Libraries that only some models need."""

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

from vla.errors import BadInput

__all__ = ["need", "quiet"]


def need(module: str, extra: str, what: str = "this model") -> ModuleType:
    """Import `module`. Raises BadInput naming the extra that brings it, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".", maxsplit=1)[0]:
            raise
        raise BadInput(f"{what} needs {module}: pip install 'vla[{extra}]'") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """`transformers` without its reports and bars: what matters of them is raised here as an error."""
    logging = need("transformers", "transformers").utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
