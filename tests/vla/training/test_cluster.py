"""Jobs of a sweep: what Slurm is asked for, and one job for real, as two processes of this machine."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from vla.config import VERSION_BASE, config_dir

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

ROOT = Path(__file__).resolve().parents[3]


def launcher(*overrides: str) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_dir()), version_base=VERSION_BASE):
        found = hydra.compose("train", list(overrides), return_hydra_config=True)
        return OmegaConf.to_container(found.hydra.launcher, resolve=True)  # type: ignore[return-value]


def test_slurm_is_asked_for_a_gpu_and_cores_for_each_process() -> None:
    asked = launcher(
        "hydra/launcher=cluster", "hydra.launcher.tasks_per_node=4", "hydra.launcher.partition=big"
    )
    assert asked["_target_"].endswith("SlurmLauncher") and asked["partition"] == "big"
    assert (asked["tasks_per_node"], asked["gpus_per_node"], asked["nodes"]) == (4, 4, 1)
    assert asked["max_num_timeout"] > 0 and asked["signal_delay_s"] > 0
    assert launcher("hydra/launcher=cluster", "hydra.launcher.gpus_per_node=null")["gpus_per_node"] is None


def test_the_dry_run_stays_here() -> None:
    assert launcher("hydra/launcher=cluster_dry")["_target_"].endswith("LocalLauncher")


@pytest.mark.slow
def test_one_job_of_two_processes(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    train, common = [sys.executable, "scripts/train.py"], ["experiment=tabletop_debug", f"data={data}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    how = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "timeout": 400}
    made = subprocess.run([*train, *common, f"out={tmp_path / 'first'}"], **how)  # makes the data too
    assert made.returncode == 0, made.stderr[-2000:]
    job = ["hydra/launcher=cluster_dry", "hydra.launcher.tasks_per_node=2", "trainer.engine=fsdp", "seed=3"]
    places = [f"out={out}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    swept = subprocess.run([*train, "-m", *common, *job, *places], **how)
    assert swept.returncode == 0, swept.stderr[-2000:]
    (folder,) = out.iterdir()
    assert "seed=3" in folder.name and (folder / "policy" / "model.safetensors").is_file()
    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    assert len(list(last.glob("training-*-of-00002.safetensors"))) == 2
    told = sorted((tmp_path / "sweep").glob(".submitit/*/*_log.out"))
    assert ["trained policy" in log.read_text() for log in told] == [True, False]
