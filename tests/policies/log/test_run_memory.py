"""Closing a run's log takes the same memory however long the run was, and says how far it is."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from policies.runtime.log import records
from policies.runtime.log.convert import convert
from policies.runtime.log.pictures import decoded, encoded
from policies.runtime.log.progress import Progress
from policies.runtime.log.records import Encoded, Journal, pack
from vla.data.episodes import EpisodeDataset
from vla.data.stored_pictures import StoredReader

ROOT = Path(__file__).parents[3]
JOINTS = [{"name": f"j{i}", "column": f"j{i}.pos"} for i in range(2)]


def pictures(count: int, size: int = 200) -> list[Encoded]:
    random = np.random.default_rng(0)
    return [encoded(random.integers(0, 256, (size, size, 3), np.uint8), "jpeg", 95) for _ in range(count)]


def write_run(folder: Path, steps: int, shown: list[Encoded]) -> Path:
    folder.mkdir()
    begin = {"kind": "begin", "robot": "r", "task": "lift", "fps": 20, "clock": 0.0, "started": "now"}
    with open(folder / "journal.bin", "wb") as file:
        file.write(pack(begin | {"joints": JOINTS, "about": {}}, {}))
        for step in range(steps):
            header = {"kind": "step", "number": step, "time": step / 20, "held": False}
            at = np.full(2, step, np.float64)
            numbers = {"state": at.astype(np.float32), "wanted": at, "sent": at}
            seen = {f"image:{name}": shown[(step + i) % len(shown)] for i, name in enumerate("ab")}
            file.write(pack(header | {"safety": [], "dropped": []}, {**numbers, **seen}))
        file.write(pack({"kind": "end", "dropped": 0, "clock": steps / 20}, {}))
    return folder


CODE = """
import resource, sys
from pathlib import Path
from policies.runtime.log.convert import convert
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for folder in sys.argv[1:]:
    convert(Path(folder))
    print(peak())
"""


def test_a_long_run_takes_as_much_memory_as_a_short_one(tmp_path: Path) -> None:
    shown = pictures(8)
    short, long = (write_run(tmp_path / str(n), n, shown) for n in (150, 1500))
    journal = (long / "journal.bin").stat().st_size / 2**20
    assert journal > 120
    command = [sys.executable, "-c", CODE, str(short), str(long)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert after - before < journal / 3, f"{before:.0f} MiB, then {after:.0f} MiB"


def test_every_picture_is_with_its_step_in_a_dataset_of_several_parts(tmp_path: Path) -> None:
    shown = pictures(5)
    data = EpisodeDataset(convert(write_run(tmp_path / "run", 240, shown)))
    [(file, _, _)] = data.file_frames
    assert data.num_frames == 240 and pq.ParquetFile(file).num_row_groups > 1
    frames = np.arange(240)
    np.testing.assert_array_equal(data.columns(["action"])["action"][:, 0], frames)
    out = np.empty((240, 200, 200, 3), np.uint8)
    StoredReader(data, "b").read(frames, out)
    for frame in frames:
        np.testing.assert_array_equal(out[frame], decoded(*shown[(frame + 1) % 5]))


@pytest.mark.parametrize("block", [1, 3, 4, 7, 2**20])
def test_records_are_found_wherever_the_blocks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(records, "_BLOCK", block)
    whole = [pack({"kind": "event", "n": n}, {"x": np.arange(n)}) for n in range(6)]
    torn = whole[2][:-3]
    huge = bytearray(whole[3])
    huge[8:12] = (2**31).to_bytes(4, "little")  # announces more than the file holds
    path = tmp_path / "journal.bin"
    path.write_bytes(
        b"".join([whole[0], b"noise", whole[1], torn, whole[4], bytes(huge), whole[5], b"\x9eRL"])
    )
    with Journal(path) as journal:
        assert [record.header["n"] for record in journal] == [0, 1, 4, 5]
        assert journal.damaged == len(b"noise") + len(torn) + len(huge) + 3 and journal.place == journal.size


def test_progress_is_told_now_and_then() -> None:
    now, said = [0.0], list[str]()
    progress = Progress(said.append, lambda: now[0])
    for step in range(100):
        now[0] = step / 10
        progress.at("reading", step, 100)
    assert said == ["reading, 30 %", "reading, 60 %", "reading, 90 %"]


def test_a_journal_that_is_damaged_everywhere_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.bin"
    path.write_bytes(np.random.default_rng(1).bytes(3_000_000) + json.dumps({}).encode())
    with Journal(path) as journal:
        assert not list(journal) and journal.damaged == journal.size
