"""The command `vla`: each sub-command is the script of the same name, with the same configs."""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vla.errors import did_you_mean

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "demo": "run the shipped policy on sentences and write a page with videos",
    "collect": "make demonstrations with the scripted expert",
    "train": "train a policy on demonstrations",
    "rollout": "measure a policy: success rates with intervals, videos, a page",
    "replay": "check a policy against recorded frames before an arm moves",
    "deploy": "run a policy on an arm, behind the safety filter; robot=simulated needs none",
    "runs": "list, show, recover and join the logs of runs on an arm",
    "serve": "answer the clients of openpi, vla-eval, OpenVLA and this project with a policy",
    "load": "put load on a policy server: requests a second, latency, a soak with damage",
    "emulator": "an SO-101's servo bus on a pseudo-terminal, with the simulated arm behind it",
    "simulators": "the vendors' simulated controllers, for their own drivers; measure through them",
    "faults": "what an arm does when each part of the runtime fails, and how soon it holds",
    "realtime": "periods, latency and success on arms in real time",
    "describe": "print a model's data flow, parameters, operations and memory; draw who attends to whom",
    "tokenizers": "compare action tokenizers on a dataset",
    "delays": "measure a policy whose answers come late: queue, ensemble, real-time chunking",
    "pictures": "render pictures with texts about them, as WebDataset shards",
    "transfer": "measure whether what pictures with texts tell reaches the hand: from data to table",
    "data": "look at data sets and picture-text sources, convert, measure and mix them",
    "speech": "speak with many voices, make spoken corpora, listen to a live source, measure both",
    "bench": "measure speeds: collection, training, latency, roll-out, decoding",
}


def usage() -> str:
    """The text of `vla --help`."""
    lines = [f"  {name:<12}{text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: vla COMMAND [key=value ...] [--help] [--config-dir MY_FOLDER] [-m]",
            "",
            *lines,
            "",
            "vla COMMAND --help shows that command's config. Your own config folder, laid out like the",
            "project's conf/, is added with --config-dir.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Hand the rest of the command line to the sub-command's own main."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(usage())
        return
    if name == "--version":
        print(_version())
        return
    if name not in COMMANDS:
        print(f"vla: no command '{name}'{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)
    package = __package__  # vla_scripts or scripts; none where this file is run by itself
    if not package:
        package = "scripts"
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    importlib.import_module(f"{package}.{name}").main(arguments[1:])


def _version() -> str:
    try:
        return f"vla {version('vla')}"
    except PackageNotFoundError:  # a checkout that was never installed
        return "vla (not installed)"


if __name__ == "__main__":
    main()
