"""Which process this is among those that train together, as whoever started them tells in the environment.

Read are the variables of torchrun; where they are absent, those of Slurm's srun and of submitit's local
executor, whose processes are then told where to meet as torchrun would tell them. Free of torch.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vla.errors import BadInput

__all__ = ["Place", "place"]


@dataclass(frozen=True)
class Place:
    """rank: which of the `processes` this is, from 0. local_rank: the same among those on this machine.
    host, port: where they meet. launched: whether a launcher started this process."""

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    host: str = "127.0.0.1"
    port: int = 29_500
    launched: bool = False

    def variables(self) -> dict[str, str]:
        """As torchrun names them."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.processes),
            "LOCAL_RANK": str(self.local_rank),
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.port),
        }


def place(environ: Mapping[str, str] = os.environ) -> Place:
    """This process's place. Raises BadInput where the environment contradicts itself."""
    if "RANK" in environ or "WORLD_SIZE" in environ:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return _place(environ, names, "127.0.0.1", 29_500)
    # A step of Slurm's, not a shell within an allocation of many tasks: that one is a single process.
    if "SLURM_PROCID" in environ and "SLURM_STEP_ID" in environ:
        count = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environ else "SLURM_NTASKS"
        nodes = environ.get("SLURM_STEP_NODELIST", environ.get("SLURM_JOB_NODELIST", ""))
        names = ("SLURM_PROCID", count, "SLURM_LOCALID")
        return _place(environ, names, _first_host(nodes), _port(environ.get("SLURM_JOB_ID", "0")))
    if "SUBMITIT_LOCAL_GLOBALID" in environ:
        names = ("SUBMITIT_LOCAL_GLOBALID", "SUBMITIT_LOCAL_NTASKS", "SUBMITIT_LOCAL_LOCALID")
        return _place(environ, names, "127.0.0.1", _port(environ.get("SUBMITIT_LOCAL_JOB_ID", "0")))
    return Place()


def _place(environ: Mapping[str, str], names: tuple[str, str, str], host: str, port: int) -> Place:
    rank, processes = (_number(environ, name) for name in names[:2])
    local = _number(environ, names[2]) if names[2] in environ else rank
    if not 0 <= rank < processes:
        raise BadInput(
            f"the environment says {names[0]}={rank} of {names[1]}={processes} processes: ranks are 0 to "
            f"{processes - 1}; let torchrun set both"
        )
    if "MASTER_PORT" in environ:
        port = _number(environ, "MASTER_PORT")
    return Place(rank, processes, local, environ.get("MASTER_ADDR", host), port, launched=True)


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name)
    if value is None or not value.isdecimal():
        found = "is not set" if value is None else f"is {value!r}, no number"
        raise BadInput(
            f"{name} {found}, though others of its kind are set: start with torchrun, srun or submitit"
        )
    return int(value)


def _first_host(nodes: str) -> str:
    """``gpu[03-05,7],x1`` -> ``gpu03``: Slurm's way to write a list of machines."""
    match = re.match(r"([^\[,]+)(?:\[(\w+)[^\]]*\])?([^,\[]*)", nodes)
    return "127.0.0.1" if match is None else f"{match[1]}{match[2] or ''}{match[3]}"


def _port(job: str) -> int:
    """One that all processes of a job know and other jobs hardly use."""
    return 20_000 + int(re.sub(r"\D", "", job) or 0) % 10_000
