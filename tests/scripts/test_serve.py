"""The command that serves: what it says, what it refuses, how it ends."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from policies.remote import RemotePolicy
from policies.serving.options import Serving
from scripts.serve import Serve, main
from vla.config import load_config
from vla.errors import BadInput
from vla.interfaces import Observation

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["host=0.0.0.0"], "host=0.0.0.0 lets other machines in"),
        (["port=70000"], "a number from 0"),
        (["token_file=/nowhere/token"], "cannot read token_file"),
        (["policy=tabletop-smal"], "did you mean 'tabletop-small'"),
        (["policy=expert"], "cannot be served"),
        (["policy=echo", "root=rest"], "'root' cannot be 'rest'"),
        (["policy=echo", "limits.batch=0"], "at least 1 is needed"),
        (["policy=echo", "limits.bach=2"], "did you mean 'limits.batch'"),
        (["policy=echo", "tls={certificate: a.pem, key: b.pem}"], "there is no file a.pem"),
        (["policy=echo", "openpi.optional=[x]"], "optional names 'x'"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["port=0", *argv] if "port" not in argv[0] else argv)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and line in said and said.count("\n") == 1


def test_names_that_the_policy_does_not_have_are_refused_at_the_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["port=0", "+options.threads=1", "+openpi.cameras.cam=frnt"])
    assert "openpi.cameras: 'cam' stands for 'frnt'" in capsys.readouterr().err


def test_the_config_is_what_the_classes_say() -> None:
    config = load_config("serve", [], Serve)
    assert config.limits == Serving().limits and (config.host, config.port) == ("127.0.0.1", 8000)
    for keys in ("libero", "droid"):
        assert load_config("serve", [f"keys={keys}"], Serve).openpi.cameras
    with pytest.raises(BadInput, match="unknown config key"):
        load_config("serve", ["+openpi.camera=x"], Serve)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    command = [sys.executable, "scripts/serve.py", "policy=echo", "port=0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        alarm = threading.Timer(60, process.kill)
        alarm.start()
        try:
            assert process.stdout is not None and process.stderr is not None
            said = [process.stdout.readline() for _ in range(7)]
            assert "this machine only, no token" in said[1]
            [url] = [word for word in said[2].split() if word.startswith("ws://")]
            with RemotePolicy(url) as policy:
                state = np.arange(3, dtype=np.float32)
                [chunk] = policy.act([Observation({}, state, "touch")], [0])
                assert chunk.actions[0, :3].tolist() == [0, 1, 2]
                process.send_signal(number)
                assert process.wait(20) == 0
            assert "stopped; everything that was accepted is answered" in process.stdout.read()
            assert process.stderr.read() == ""
        finally:
            alarm.cancel()
            process.kill()
