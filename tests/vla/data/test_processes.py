"""Jobs done by several processes are those that one would do."""

import os
from pathlib import Path

import pytest

from vla.data.processes import in_processes


def _work(folder: Path, factor: int, job: int) -> tuple[int, int]:
    (folder / str(job)).touch()
    if job == 13:
        raise FileNotFoundError("job 13")
    return job * factor, os.getpid()


def test_one_worker_or_one_job_stays_here_and_in_order(tmp_path: Path) -> None:
    here = os.getpid()
    assert list(in_processes(_work, (tmp_path, 2), [3, 1, 2], 1)) == [(6, here), (2, here), (4, here)]
    assert list(in_processes(_work, (tmp_path, 2), [5], 8)) == [(10, here)]
    assert list(in_processes(_work, (tmp_path, 2), [], 8)) == []


def test_several_do_the_same_elsewhere_and_a_fault_is_told(tmp_path: Path) -> None:
    found = list(in_processes(_work, (tmp_path, 2), range(6), 2))
    assert sorted(number for number, _ in found) == [0, 2, 4, 6, 8, 10]
    assert os.getpid() not in {process for _, process in found}
    with pytest.raises(FileNotFoundError, match="job 13"):
        list(in_processes(_work, (tmp_path, 2), [13, 1], 2))
