"""The field's own clients, unmodified, each with the Python of its own environment (scripts/peers)."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import TOKEN, Gated, peer, settings

from policies.serving.echo import EchoPolicy, echo
from policies.serving.server import running
from vla.errors import UndecodableChunk
from vla.interfaces import Observation

FRONT = "np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)"
WRIST = "np.full((6, 7, 3), 200, np.uint8)"
STATE = "np.linspace(-1.5, 1.5, 6)"


def wanted(task: str = "touch the cube", dtype: Any = np.float32) -> list[float]:
    """What an echo of the pictures and numbers above is."""
    images = {
        "front": np.arange(360, dtype=np.uint8).reshape(12, 10, 3),
        "wrist": np.full((6, 7, 3), 200, np.uint8),
    }
    found: list[float] = echo(Observation(images, np.linspace(-1.5, 1.5, 6).astype(dtype), task)).tolist()
    return found


def ran(python: str, program: str) -> Any:
    """What a program of the environment prints, as JSON."""
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


OPENPI = """
import json, sys, numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy
def obs(**more):
    return {{"observation/image": {front}, "observation/wrist_image": {wrist},
            "observation/state": {state}, "prompt": "touch the cube", **more}}
client = WebsocketClientPolicy({arguments})
said = {{"metadata": client.get_server_metadata()}}
found = client.infer(obs())
said["actions"] = found["actions"].tolist()
said["dtype"] = str(found["actions"].dtype)
said["timing"] = found["server_timing"]
errors = []
for bad in (obs(prompt="codes"), {{"observation/image": 3}}, obs(surprise=1)):
    try:
        client.infer(bad)
    except RuntimeError as error:
        errors.append(str(error))
said["errors"] = errors
said["again"] = client.infer(obs())["actions"][0].tolist()
print(json.dumps(said))
"""


@pytest.mark.parametrize("form", ["host and port", "address with a path", "with a token"])
def test_openpi_client(form: str, tmp_path: Path) -> None:
    python = peer("openpi")
    policy = Gated(free=True)
    policy.faults["codes"] = UndecodableChunk("token 7 stands for nothing")
    serving = settings()
    if form == "with a token":
        (tmp_path / "token").write_text(TOKEN)
        serving = settings(token_file=tmp_path / "token")
    with running(policy, serving) as address:
        arguments = f'"127.0.0.1", {address.port}'
        if form == "address with a path":
            arguments = f'"{address.url("ws", "/openpi")}"'
        if form == "with a token":
            arguments += f', api_key="{TOKEN}"'
        said = ran(python, OPENPI.format(arguments=arguments, front=FRONT, wrist=WRIST, state=STATE))
    assert said["metadata"]["policy"] == "echo" and said["metadata"]["action_horizon"] == 4
    assert said["dtype"] == "float32" and np.array_equal(said["actions"][0], wanted())
    assert np.shape(said["actions"]) == (4, 8) and said["timing"]["infer_ms"] > 0
    hold, missing, unknown = said["errors"]
    assert "hold: token 7 stands for nothing" in hold
    assert "missing 'observation/state', 'observation/wrist_image'" in missing
    assert "unknown 'surprise'" in unknown
    assert np.array_equal(said["again"], wanted())


VLA_EVAL = """
import json, anyio, numpy as np
from vla_eval.connection import Connection
from vla_eval.protocol import numpy_codec
numpy_codec.set_image_format("{form}")
def obs(**more):
    return {{"images": {{"front": {front}, "wrist": {wrist}}}, "states": {state},
            "task_description": "touch the cube", **more}}
async def main():
    said = {{}}
    async with Connection("{url}", timeout=20) as client:
        said["info"] = client.server_info
        await client.start_episode({{"task": {{"name": "touch"}}}})
        said["actions"] = [(await client.act(obs()))["actions"].tolist() for _ in range(5)]
        await client.end_episode({{"metrics": {{}}}})
        await client.start_episode({{"task": {{"name": "touch"}}}})
        errors = []
        for bad in (obs(task_description="codes"), {{"images": {{}}}}):
            try:
                await client.act(bad)
            except RuntimeError as error:
                errors.append(str(error))
        said["errors"] = errors
        said["again"] = (await client.act(obs()))["actions"].tolist()
        await client.reconnect()
        said["reconnected"] = (await client.act(obs()))["actions"].tolist()
    print(json.dumps(said))
anyio.run(main)
"""


@pytest.mark.parametrize("form", ["png", "raw"])
def test_vla_eval_client(form: str) -> None:
    python = peer("vla-eval")
    policy = Gated(free=True)
    policy.faults["codes"] = UndecodableChunk("token 7 stands for nothing")
    with running(policy, settings()) as address:
        program = VLA_EVAL.format(
            url=address.url("ws", "/vla-eval"), form=form, front=FRONT, wrist=WRIST, state=STATE
        )
        said = ran(python, program)
    assert said["info"]["model_server"] == "echo" and said["info"]["capabilities"] == {}
    for step in range(5):  # four rows of a chunk, then the first of the next
        assert np.array_equal(said["actions"][step], np.float32(wanted()) + np.float32(step % 4))
    hold, missing = said["errors"]
    assert "hold: token 7 stands for nothing" in hold and "missing 'images/front'" in missing
    assert np.array_equal(said["again"], wanted()) and np.array_equal(said["reconnected"], wanted())


def test_vla_eval_client_at_the_root_and_with_a_token(tmp_path: Path) -> None:
    python = peer("vla-eval")
    (tmp_path / "token").write_text(TOKEN)
    with running(EchoPolicy(), settings(root="vla_eval", token_file=tmp_path / "token")) as address:
        program = f"""
import json, anyio
from vla_eval.connection import Connection
async def main():
    async with Connection("ws://any:{TOKEN}@127.0.0.1:{address.port}") as client:
        print(json.dumps(client.server_info))
anyio.run(main)
"""
        assert ran(python, program)["model_server"] == "echo"
