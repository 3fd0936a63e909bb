"""Output folders: refused in one line where they cannot be, held by one run, written whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from vla.errors import BadInput
from vla.folders import output_folder, writable_folder, write_whole


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput, match="cannot make the folder"):
            writable_folder(path)


def test_one_run_holds_a_folder_until_it_ends(tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused = pytest.raises(BadInput, match="another run is writing into")
    with output_folder(out), refused, output_folder(out):
        pass
    with output_folder(tmp_path / "out"):
        assert not list(out.iterdir())


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal, pathlib; from vla.folders import output_folder\n"
        "with output_folder(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60).returncode == -9
    with output_folder(tmp_path):
        pass


def test_what_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
