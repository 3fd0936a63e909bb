"""The journal's format: whatever happens to a file, whole records are read and nothing is made up."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from policies.runtime.log.records import MARK, Journal, pack

headers = st.dictionaries(
    st.text(max_size=8), st.one_of(st.integers(), st.text(), st.floats(allow_nan=False))
)
arrays = st.dictionaries(
    st.text(max_size=6),
    hnp.arrays(
        st.sampled_from(["<f8", "<f4", "|u1", "<i8"]), hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)
    ),
    max_size=3,
)
records = st.lists(st.tuples(headers, arrays), max_size=5)


def read(path: Path) -> tuple[list[tuple[dict, dict]], int]:
    with Journal(path) as journal:
        found = [(r.header, {n: journal.array(p) for n, p in r.parts.items()}) for r in journal]
        return found, journal.damaged


def same(found: tuple[dict, dict], told: tuple[dict, dict]) -> bool:
    (header, parts), (wanted, arrays) = found, told
    return (
        header == {key: value for key, value in wanted.items() if key != "parts"}
        and parts.keys() == arrays.keys()
        and all(np.array_equal(parts[n], arrays[n], equal_nan=parts[n].dtype.kind == "f") for n in arrays)
    )


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "journal.bin"


@given(records)
def test_what_is_packed_is_read(journal: Path, told: list) -> None:
    journal.write_bytes(b"".join(pack(*each) for each in told))
    found, damaged = read(journal)
    assert damaged == 0
    assert len(found) == len(told) and all(map(same, found, told))


@given(records, st.data())
def test_a_torn_end_loses_the_last_record_alone(journal: Path, told: list, data: st.DataObject) -> None:
    packed = [pack(*each) for each in told]
    whole = b"".join(packed)
    cut = data.draw(st.integers(0, len(whole)))
    journal.write_bytes(whole[:cut])
    found, damaged = read(journal)
    ends = np.cumsum([len(each) for each in packed])
    kept = int((ends <= cut).sum())
    assert len(found) == kept and all(map(same, found, told[:kept]))
    assert damaged == cut - (int(ends[kept - 1]) if kept else 0)


@settings(max_examples=100)
@given(st.lists(st.tuples(headers, arrays), min_size=1, max_size=5), st.data())
def test_damage_loses_the_record_it_hits(journal: Path, told: list, data: st.DataObject) -> None:
    packed = [pack(*each) for each in told]
    spoiled = data.draw(st.integers(0, len(packed) - 1))
    place = data.draw(st.integers(0, len(packed[spoiled]) - 1))
    hit = bytearray(packed[spoiled])
    hit[place] ^= data.draw(st.integers(1, 255))
    journal.write_bytes(b"".join([*packed[:spoiled], bytes(hit), *packed[spoiled + 1 :]]))
    found, damaged = read(journal)
    rest = told[:spoiled] + told[spoiled + 1 :]
    assert len(found) == len(rest) and all(map(same, found, rest))
    assert damaged == len(hit)


@given(st.binary(max_size=400))
def test_noise_holds_no_record(journal: Path, noise: bytes) -> None:
    journal.write_bytes(MARK + noise + MARK)
    assert read(journal) == ([], len(noise) + 2 * len(MARK))
