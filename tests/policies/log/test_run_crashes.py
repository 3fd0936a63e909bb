"""What a crash, a slow disk and a full one take from a run's log."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from run_making import CAMERAS, NAMES, start, told

from policies.runtime.log import RunLog, journal
from policies.runtime.log.convert import convert
from policies.runtime.log.runs import read_run, recover
from vla.data.episodes import EpisodeDataset
from vla.errors import BadInput

HERE = Path(__file__).parent
LOGGING = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from run_making import start, told
log = start(Path(sys.argv[1]))
for seen, _ in told(log, 10_000, ticks=5, pause=0.004):
    print(seen.frame_index, time.monotonic(), flush=True)
"""


def child(code: str, *arguments: Path | str, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_run_loses_at_most_its_last_second(tmp_path: Path, end: signal.Signals) -> None:
    run = tmp_path / "run"
    with child(LOGGING, run, HERE) as process:
        assert process.stdout is not None
        for _ in range(80):
            last = float(process.stdout.readline().split()[1])
        if end is signal.SIGSTOP:  # to a reader it looks like a run that goes on
            os.kill(process.pid, end)
            assert read_run(run).state == "running"
            with pytest.raises(BadInput, match="goes on"):
                convert(run)
        process.kill()
    assert read_run(run).state == "crashed"
    assert recover(tmp_path) == [(run, "")]
    told_of = read_run(run)
    assert told_of.state == "complete" and told_of.summary["ended"] == "crashed"
    ticks = pq.read_table(run / "ticks.parquet")["time"].to_numpy()
    assert last - (ticks[-1] + told_of.told["clock"]) < 1.0
    data = EpisodeDataset(run / "dataset")
    data.check_meta()
    steps = data.columns(["step", "time"])
    assert np.array_equal(steps["step"], np.arange(data.num_frames)) and data.num_frames > 20
    assert last - (steps["time"][-1] + told_of.told["clock"]) < 1.0
    assert recover(tmp_path) == [], "what was recovered is complete"


def test_a_torn_journal_gives_all_that_is_whole(tmp_path: Path) -> None:
    run = crashed(tmp_path / "run", 20)
    path = run / "journal.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes(5000))  # a power cut leaves zeros where data were to come
    data = EpisodeDataset(convert(run))
    assert data.num_frames == 19
    assert read_run(run).summary["damaged_bytes"] > 5000


def test_without_its_beginning_the_file_beside_it_tells(tmp_path: Path) -> None:
    run = crashed(tmp_path / "run", 5)
    path = run / "journal.bin"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    assert EpisodeDataset(convert(run)).num_frames == 5
    other = crashed(tmp_path / "other", 5)
    (other / "journal.bin").write_bytes(b"")
    (other / "run.json").write_text("{")
    [(_, why)] = recover(tmp_path)
    assert "does not tell of which run it is" in why


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_conversion_that_is_stopped_begins_again(
    tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = crashed(tmp_path / "run", 6)
    count, real = 0, os.replace

    def replace(source: object, target: object) -> None:
        nonlocal count
        count += str(run) in str(target) and ".staging" not in str(target) and "commit" not in str(source)
        if count == stop:
            raise KeyboardInterrupt
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        convert(run)
    monkeypatch.undo()
    assert read_run(run).state == "crashed", "the journal goes last"
    data = EpisodeDataset(convert(run))
    data.check_meta()
    assert data.num_frames == 6
    assert sorted(p.name for p in run.iterdir()) == [
        "chunks.parquet",
        "dataset",
        "events.jsonl",
        "run.json",
        "ticks.parquet",
    ]


def crashed(run: Path, steps: int) -> Path:
    """The folder of a run that was never closed."""
    log = start(run)
    list(told(log, steps))
    log._journal.close()  # what a kill leaves: all is written, nothing was ended
    return run


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """A disk that is slow (seconds a write) and full (free bytes; its reserve, once deleted, counts)."""
    state = {"seconds": 0.0, "free": float("inf")}
    write, unlink = os.write, Path.unlink

    def slow(file: int, data: bytes) -> int:
        if not os.readlink(f"/proc/self/fd/{file}").endswith("journal.bin"):
            return write(file, data)
        time.sleep(state["seconds"])
        if state["free"] < len(data):
            written = write(file, memoryview(data)[: int(state["free"])]) if state["free"] >= 1 else 0
            state["free"] -= written
            if written:
                return written
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(file, data)
        state["free"] -= written
        return written

    def freeing(path: Path, missing_ok: bool = False) -> None:
        if path.name == "journal.reserve" and path.exists():
            state["free"] += path.stat().st_size
        unlink(path, missing_ok)

    monkeypatch.setattr(journal.os, "write", slow)
    monkeypatch.setattr(Path, "unlink", freeing)
    yield state


def until_trouble(log: RunLog, wait: float = 5.0) -> str:
    end = time.monotonic() + wait
    while not log.trouble and time.monotonic() < end:
        time.sleep(0.02)
    return log.trouble


def test_a_full_disk_is_told_and_the_decisions_still_get_there(
    tmp_path: Path, disk: dict[str, float]
) -> None:
    log = start(tmp_path / "run", reserve_mb=1)
    list(told(log, 3, size=64))
    disk["free"] = 30_000
    list(told(log, 10, size=64))
    assert "no space left on the disk" in until_trouble(log)
    list(told(log, 10, size=64))  # the arm is being stopped: what is decided now must be known later
    log.event(time.monotonic(), "hold", "the log cannot be written")
    assert log.dropped == 10 * len(CAMERAS), "no picture any more"
    data = EpisodeDataset(log.close())
    summary = read_run(tmp_path / "run").summary
    assert data.num_frames == 23 and summary["ticks"] == 23 * 5 and summary["damaged_bytes"] == 0
    assert summary["dropped_pictures"] == 20 and summary["last_event"]["what"] == "hold"
    assert data.columns(["annotation.valid"])["annotation.valid"][-10:].sum() == 0


def test_space_that_is_freed_again_loses_nothing(tmp_path: Path, disk: dict[str, float]) -> None:
    log = start(tmp_path / "run", reserve_mb=0)
    disk["free"] = 10_000
    list(told(log, 10, size=64))
    assert "no space left" in until_trouble(log)
    disk["free"] = float("inf")
    list(told(log, 2))
    assert EpisodeDataset(log.close()).num_frames == 12
    assert read_run(tmp_path / "run").summary["damaged_bytes"] == 0


def test_what_never_got_to_the_disk_is_told_on_closing(tmp_path: Path, disk: dict[str, float]) -> None:
    log = start(tmp_path / "run", reserve_mb=0)
    list(told(log, 5))
    time.sleep(0.4)
    disk["free"] = 0
    list(told(log, 5, size=64))
    with pytest.raises(BadInput, match="the end of the log is lost: no space left on the disk"):
        log.close()
    disk["free"] = float("inf")
    assert EpisodeDataset(convert(tmp_path / "run")).num_frames == 5


def test_a_slow_disk_loses_pictures_and_no_decision(tmp_path: Path, disk: dict[str, float]) -> None:
    log = start(tmp_path / "run", queue_mb=1, late_s=1.0)
    disk["seconds"] = 2.5
    began = time.monotonic()
    list(told(log, 120, size=96))
    assert time.monotonic() - began < 2.0, "whoever logs never waits for the disk"
    assert "behind" in until_trouble(log)
    assert log.dropped > 100
    disk["seconds"] = 0.0
    data = EpisodeDataset(log.close())
    assert log.trouble == ""
    summary = read_run(tmp_path / "run").summary
    assert data.num_frames == 120 and summary["ticks"] == 600
    assert summary["dropped_pictures"] == log.dropped


LIMITED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from run_making import start, told
log = start(Path(sys.argv[1]), reserve_mb=0)
list(told(log, 100, size=64))
end = time.monotonic() + 10
while not log.trouble and time.monotonic() < end:
    time.sleep(0.05)
print(log.trouble)
"""


def test_a_write_error_of_the_system_is_told(tmp_path: Path) -> None:
    def limit() -> None:  # the kernel itself refuses more than this in one file
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    with child(LIMITED, tmp_path / "run", HERE, preexec_fn=limit) as process:
        said = process.communicate()[0]
    assert "journal.bin cannot be written: File too large" in said
    data = EpisodeDataset(convert(tmp_path / "run"))
    assert 10 < data.num_frames < 100
    assert read_run(tmp_path / "run").summary["damaged_bytes"] == 0, "half a record is cut off again"


def test_the_names_of_the_joints_survive(tmp_path: Path) -> None:
    run = crashed(tmp_path / "run", 3)
    assert [joint["name"] for joint in json.loads((run / "run.json").read_text())["joints"]] == list(NAMES)
