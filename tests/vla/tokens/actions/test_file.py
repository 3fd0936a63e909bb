import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_tokenizers import CONFIGS, DIM, HORIZON, fitted, training_chunks, unfitted

from vla.configuration.tokenizer import ResidualConfig, SplineConfig
from vla.errors import BadInput
from vla.tokens.actions import file
from vla.tokens.actions.file import load_tokenizer, save_tokenizer

every = pytest.mark.parametrize("name", list(CONFIGS))

HASH = "0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "actions.json"
    save_tokenizer(found, fitted("residual"), robots=["so101", "aloha"], statistics=HASH)
    return found


def message(path: Path, **expected: Any) -> str:
    with pytest.raises(BadInput) as error:
        load_tokenizer(path, **expected)
    assert "\n" not in str(error.value)
    return str(error.value)


def rewrite(path: Path, rehash: bool = True, **changes: Any) -> None:
    """Change entries (None: take out), by default with the hash that goes with them."""
    content = {**json.loads(path.read_text()), **changes}
    content = {name: value for name, value in content.items() if value is not None}
    if rehash and "hash" in content:
        content["hash"] = file._hash(content)
    path.write_text(json.dumps(content))


@every
def test_what_is_loaded_is_what_was_saved(name: str, tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "a.json", fitted(name), robots=["so101"], statistics=HASH)
    expected: dict[str, Any] = {"config": CONFIGS[name], "horizon": HORIZON, "dim": DIM}
    loaded = load_tokenizer(tmp_path / "a.json", **expected, robots=["so101"], statistics=HASH)
    assert type(loaded) is type(fitted(name))
    assert loaded.to_dict() == fitted(name).to_dict()
    chunks = training_chunks()
    codes = loaded.encode_batch(chunks)
    assert (codes.ids == fitted(name).encode_batch(chunks).ids).all()
    for index in range(0, len(chunks), 10):
        row = codes.row(index)
        assert (loaded.decode(row) == fitted(name).decode(row)).all()
    save_tokenizer(tmp_path / "b.json", loaded, robots=["so101"], statistics=HASH)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b.json"]


@every
def test_nothing_needs_to_be_expected(name: str, tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "a.json", fitted(name))
    assert load_tokenizer(tmp_path / "a.json").config == CONFIGS[name]


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BadInput) as error:
        save_tokenizer(path, fitted("spline"))
    assert str(error.value) == f"cannot write the action tokenizer {path}: No space left on device"
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_what_is_not_fitted_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the spline tokenizer was not fitted"):
        save_tokenizer(tmp_path / "a.json", unfitted("spline"))
    assert not os.listdir(tmp_path)


def test_another_config(path: Path) -> None:
    config = ResidualConfig(levels=4, codes=16)
    assert load_tokenizer(path, config=config).fitted
    assert message(path, config=dataclasses.replace(config, levels=8)) == (
        f"{path} holds a residual tokenizer with levels=4; levels=8 is expected"
    )
    assert message(path, config=SplineConfig()) == (
        f"{path} holds a tokenizer of kind 'residual'; 'spline' is expected"
    )


def test_another_spacing_of_bins(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "a.json", fitted("quantile"))
    assert message(tmp_path / "a.json", config=CONFIGS["uniform"]) == (
        f"{tmp_path}/a.json holds a bins tokenizer with spacing='quantile'; spacing='uniform' is expected"
    )


def test_another_shape(path: Path) -> None:
    assert message(path, horizon=16) == (
        f"{path} holds a tokenizer of chunks with horizon=8; horizon=16 is expected"
    )
    assert message(path, dim=7) == f"{path} holds a tokenizer of chunks with dim=3; dim=7 is expected"


def test_another_robot(path: Path) -> None:
    assert load_tokenizer(path, robots=["aloha"]).fitted
    assert load_tokenizer(path, robots=[]).fitted
    assert message(path, robots=["so101", "panda"]) == (
        f"{path} holds a tokenizer for the robots: 'so101', 'aloha'; 'panda' is expected"
    )
    rewrite(path, robots=[])
    assert message(path, robots=["panda"]) == (
        f"{path} holds a tokenizer for the robots: none that has a name; 'panda' is expected"
    )


def test_other_statistics(path: Path) -> None:
    assert message(path, statistics="fedcba9876543210") == (
        f"{path} holds a tokenizer of actions normalised with the statistics '0123456789ab'; "
        "'fedcba987654' are expected"
    )


def test_another_format(path: Path) -> None:
    rewrite(path, format=2)
    assert message(path) == f"{path} holds an action tokenizer of format 2; format 1 is expected"


def test_a_kind_that_is_not_known(path: Path) -> None:
    rewrite(path, config={"kind": "splin"})
    assert message(path) == (
        f"the action tokenizer {path} cannot be used: 'config.kind' cannot be 'splin' "
        "(did you mean 'spline'?)"
    )


def test_a_config_that_is_not_possible(path: Path) -> None:
    rewrite(path, config={"kind": "residual", "levels": 0, "codes": 16})
    assert message(path) == (
        f"the action tokenizer {path} cannot be used: config: levels=0: at least 1 is needed"
    )


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("name", ["horizon", "dim"])
def test_a_shape_that_no_memory_holds(tmp_path: Path, kind: str, name: str) -> None:
    """Not numpy's MemoryError: the tables of some kinds grow with the square of it."""
    path = tmp_path / "a.json"
    save_tokenizer(path, fitted(kind))
    changes: dict[str, Any] = {name: 10**9}
    rewrite(path, **changes)
    assert message(path) == (
        f"the action tokenizer {path} cannot be used: {name}=1000000000: at most 1024 is possible"
    )


@pytest.mark.parametrize("origin", [10**30, -(10**30), float("inf")])
def test_a_number_that_no_table_holds(tmp_path: Path, origin: float) -> None:
    path = tmp_path / "a.json"
    save_tokenizer(path, fitted("fast"))
    rewrite(path, data={**json.loads(path.read_text())["data"], "min_token": origin})
    assert message(path).startswith(
        f"the action tokenizer {path} cannot be used: the fast tokenizer's data is damaged: OverflowError"
    )


def test_a_missing_file(tmp_path: Path) -> None:
    assert message(tmp_path / "a.json") == f"no action tokenizer: {tmp_path}/a.json does not exist"


def test_a_folder(tmp_path: Path) -> None:
    assert message(tmp_path) == f"cannot read the action tokenizer {tmp_path}: Is a directory"


@pytest.mark.parametrize("size", [0, 1, 100, 1000])
def test_a_cut_file(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    assert message(path).startswith(f"the action tokenizer {path} is damaged: it is not JSON (")


def test_a_binary_file(path: Path) -> None:
    path.write_bytes(b"\x80\x02pickle\xff")
    assert message(path).startswith(f"the action tokenizer {path} is damaged: it is not JSON (")


@pytest.mark.parametrize("content", ["{}", "[]", "3", "null"])
def test_other_json(path: Path, content: str) -> None:
    path.write_text(content)
    assert message(path) == f"{path} is not an action tokenizer: it is JSON without a 'format'"


@pytest.mark.parametrize("name", ["kind", "config", "horizon", "dim", "robots", "statistics", "data"])
def test_a_part_is_missing(path: Path, name: str) -> None:
    changes: dict[str, Any] = {name: None}
    rewrite(path, **changes)
    assert message(path).startswith(f"the action tokenizer {path} cannot be used: '{name}' has no value")


def test_the_hash_is_missing(path: Path) -> None:
    rewrite(path, hash=None)
    assert message(path).startswith(f"the action tokenizer {path} was changed or damaged: its hash is ")
    assert message(path).endswith(", not None")


@pytest.mark.parametrize("change", [{"horizon": 9}, {"robots": ["panda"]}, {"data": {}}, {"statistics": "x"}])
def test_a_part_was_changed(path: Path, change: dict[str, Any]) -> None:
    rewrite(path, rehash=False, **change)
    assert message(path).startswith(f"the action tokenizer {path} was changed or damaged: its hash is ")


def test_one_number_of_a_book_was_changed(path: Path) -> None:
    content = json.loads(path.read_text())
    text = content["data"]["books"]["base64"]
    content["data"]["books"]["base64"] = text[:200] + ("A" if text[200] != "A" else "B") + text[201:]
    path.write_text(json.dumps(content))
    assert "was changed or damaged" in message(path)


@pytest.mark.parametrize(
    "change",
    [
        {"data": {}},
        {"data": []},
        {"horizon": 9},
        {"horizon": "8"},
        {"horizon": -1},
        {"horizon": 10**400},
        {"horizon": True},
        {"dim": 2.5},
        {"robots": "so101"},
        {"robots": [3]},
        {"statistics": [5]},
        {"more": 1},
        {"kind": "spline"},
        {"config": []},
        {"config": {"kind": "spline"}},
        {"kind": ["residual"]},
    ],
)
def test_a_part_of_another_type_is_one_line(path: Path, change: dict[str, Any]) -> None:
    rewrite(path, **change)
    assert str(path) in message(path, horizon=8, robots=["so101"], statistics=HASH)


def test_pickles_are_never_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("numpy's loader was called"))
    assert load_tokenizer(path).fitted
