"""Load measurements are kept and gone on with, and their page says how to repeat them."""

import math
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from policies.runtime.benchmark import serving, serving_clients
from policies.runtime.benchmark.kept import Kept
from policies.runtime.benchmark.serving import Load, measure_serving
from policies.runtime.benchmark.serving_report import line, load_table, overrides, page, soak_lines
from policies.runtime.benchmark.serving_soak import Soak
from scripts.load import Options, main
from vla.config import load_config
from vla.errors import BadInput

ROW: dict[str, Any] = {
    "protocol": "rest", "batch": 16, "clients": 1, "requests": 90, "requests_per_s": 90.0, "p50_ms": 1.25,
    "p99_ms": 9.0, "mean_batch": 2.5, "refused": {"late": 2, "overloaded": 1}, "crossed": 4, "lost": 3,
    "memory_mib": [60.0, 61.5],
}  # fmt: skip
SOAK: dict[str, Any] = {
    "seconds": 6.0, "answers": 4590, "p50_ms": 19.6, "p99_ms": 43.2, "lost": 1, "crossed": 2, "refused": {},
    "damaged": 259, "believed": 3, "killed": 5, "sessions_left": 0, "memory_start_mib": 58.3,
    "memory_first_mib": 64.6, "memory_last_mib": 69.1, "memory_most_mib": 70.0, "memory_mib": [64.6],
    "memory_slope_mib_a_minute": 0.125,
}  # fmt: skip


def test_every_count_is_told_with_its_name() -> None:
    said = line(ROW)
    for part in ("1 client,", "up to 16", "90 answers/s", "p50 1.2 ms", "3 (late 2, overloaded 1) refused"):
        assert part in said
    assert "3 lost, 4 crossed; server 60 to 62 MiB" in said
    head, _, cells = load_table([ROW]).splitlines()
    told = dict(zip(head.split(" | "), cells.split(" | "), strict=True))
    assert (told["lost"], told["crossed"], told["batching"]) == ("3", "4", "up to 16")
    soak = "\n".join(soak_lines(SOAK))
    assert "1 answers lost, 2 crossed" in soak and "3 of them believed" in soak
    assert "58.3 MiB before the first client" in soak and "+0.12 MiB a minute" in soak
    assert "too short" in "\n".join(soak_lines(SOAK | {"memory_slope_mib_a_minute": None}))
    assert "nan ms" in line(ROW | {"p50_ms": math.nan})


def test_what_is_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    started = []

    @contextmanager
    def server(policy: str, limits: Any, *_: float) -> Any:
        started.append(limits.batch)
        yield None, 0

    async def measured(options: Load, server: Any, protocol: str, clients: int, batch: int) -> dict[str, Any]:
        if clients == 8 and batch == 16:
            raise KeyboardInterrupt
        return ROW | {"protocol": protocol, "clients": clients, "batch": batch}

    monkeypatch.setattr(serving_clients, "serving", server)
    monkeypatch.setattr(serving, "_measured", measured)
    load, path, lines = Load(clients=(1, 8), protocols=("native",)), tmp_path / "load.json", list[str]()
    with pytest.raises(KeyboardInterrupt):
        measure_serving(load, lines.append, Kept(path))
    assert started == [1, 16] and len(lines) == 3
    fewer = Load(clients=(1,), protocols=("native",))
    cells = measure_serving(fewer, lines.append, Kept(path))
    assert started == [1, 16] and [cell["found"]["batch"] for cell in cells] == [1, 16]  # nothing was started
    assert "(kept, of " in lines[3]
    measure_serving(fewer, lines.append, Kept(path, again=True))
    measure_serving(Load(clients=(1,), protocols=("native",), side=32), lines.append, Kept(path))
    assert started == [1, 16, 1, 16, 1, 16]
    assert len(Kept(path)._cells) == 5  # the three, anew or not, and two of another side


def test_a_file_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "load.json"
    for text in ("", "[1]", '{"load": {}}', '{"cells": [1]}', '{"cells": [{"settings": {}}]}'):
        path.write_text(text)
        with pytest.raises(BadInput, match="delete it, or give another out="):
            Kept(path)


@pytest.mark.parametrize("task", ["touch the red cube", "a", "it's [here], 100 % & more: #1", "x=1,y"])
def test_the_command_that_is_told_gives_the_same_settings(task: str) -> None:
    options = Options(load=Load(clients=(2, 5), task=task, protocols=("rest",)), soak=Soak(minutes=0.5))
    words = shlex.split(" ".join(overrides(asdict(options), asdict(Options()))))
    assert load_config("load", words, Options) == options


def test_the_page_says_what_it_is_and_how_it_was_made() -> None:
    cell = {"found": ROW, "settings": {}, "at": "2026-01-02 03:04 UTC", "commit": "abc"}
    settings = asdict(Options())
    text = page(
        "python scripts/load.py x=1", [cell], cell | {"found": SOAK}, settings["load"], settings["soak"]
    )
    assert "`python scripts/load.py x=1`" in text and "Commit: abc" in text and "| rest | 1 |" in text
    assert "Measured: 2026-01-02 03:04 UTC\n" in text and "10 minutes, 16 clients" in text
    assert "## Soak" not in page("x", [cell], None, settings["load"], settings["soak"])


@pytest.mark.slow
def test_the_command_goes_on_and_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = tmp_path / "pages/serving.md", tmp_path / "load.json"
    words = ["measure=[load]", "load.clients=[1]", "load.batches=[1]", "load.protocols=[rest]"]
    words += ["load.seconds=0.2", "load.warm=0", "load.side=8", f"out={out}", f"table={table}"]
    for kept in (False, True):
        main(words)
        said = capsys.readouterr().out
        assert ("(kept, of" in said) is kept and "1 measurements of 0.2 s" in said
    assert "| rest | 1 | no |" in table.read_text()
