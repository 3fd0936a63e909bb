"""Serve a policy to robots and benchmarks: ``python scripts/serve.py policy=tabletop-small``.

Existing clients can use it as they are: openpi-client, vla-eval, OpenVLA's REST, and our own
`policies.remote`. Ctrl-C (or SIGTERM) answers what was accepted, then ends; a second one ends at once.
"""

import ipaddress
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from policies.serving.options import Serving
from vla.config import command
from vla.errors import BadInput

if TYPE_CHECKING:
    from policies.base import Policy
    from policies.serving.protocol import Facts
    from policies.serving.server import Address

__all__ = ["Serve", "main"]


@dataclass(frozen=True)
class Serve(Serving):
    """Options of the command; see conf/serve.yaml. policy, options: as in scripts/rollout.py, or ``echo``."""

    policy: str = "tabletop-small"
    options: dict[str, Any] = field(default_factory=dict)


@command("serve", Serve)
def main(config: Serve) -> None:
    """Load the policy, listen, say where."""
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    config.token()  # its mistakes, before anything heavy is loaded
    policy = _load(config)
    from policies.serving.server import serve

    serve(policy, config, lambda address, facts: print(_say(config, facts, address), flush=True))
    print("stopped; everything that was accepted is answered", flush=True)


def _load(config: Serve) -> "Policy":
    if config.policy == "echo":
        from policies.serving.echo import EchoPolicy

        return EchoPolicy()
    from policies import find_checkpoint, load
    from policies.base import Privileged

    if config.policy not in ("expert", "random"):
        find_checkpoint(config.policy)  # a wrong name is told before torch is loaded
    policy = load(config.policy, **config.options)
    if isinstance(policy, Privileged):
        raise BadInput(f"the policy '{config.policy}' looks into the simulator and cannot be served")
    return policy


def _say(config: Serve, facts: "Facts", address: "Address") -> str:
    host = address.host
    if not config.loopback and ipaddress.ip_address(host).is_unspecified:
        host = "<this machine>"
    at = f"{host}:{address.port}"
    s = "s" if address.tls else ""
    openpi = f'WebsocketClientPolicy("ws{s}://{at}{"" if config.root == "openpi" else "/openpi"}")'
    who = "this machine only" if config.loopback else "other machines too"
    token = "with a token" if config.token_file else "no token"
    cameras = f", cameras {', '.join(facts.cameras)}" if facts.cameras else ""
    rate = "" if facts.about.hz is None else f" at {facts.about.hz:g} Hz"
    robots = f", robots {', '.join(facts.about.robots)}" if facts.about.robots else ""
    return "\n".join(
        [
            f"{facts.name}: chunks of {facts.horizon} steps{rate}{robots}{cameras}",
            f"listening on {host}, port {address.port}: {who}, {token}{', TLS' if address.tls else ''}",
            f"  our own client   ws{s}://{at}    (policies.remote.RemotePolicy)",
            f"  openpi-client    {openpi}",
            f"  vla-eval         ws{s}://{at}{'' if config.root == 'vla_eval' else '/vla-eval'}",
            f"  OpenVLA's REST   POST http{s}://{at}/act",
            f"  and GET          http{s}://{at}/healthz, /metrics, /config",
        ]
    )


if __name__ == "__main__":
    main()
