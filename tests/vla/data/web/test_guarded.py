"""A guarded source: what stands in for what is damaged, when it is too much, and what is told."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_source import Made
from web_files import make_coco

from vla.configuration.web import CocoConfig
from vla.data.web import open_source
from vla.data.web.guarded import Guarded
from vla.errors import BadInput


@given(st.data())
def test_who_stands_in_is_a_function_of_the_number_alone(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    bad = data.draw(st.frozensets(st.integers(0, count - 1), max_size=count - 1))
    held = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    sides = {side: [n for n in range(count) if held[n] == side and n not in bad] for side in (True, False)}
    order = data.draw(st.permutations(range(count)))
    guarded = Guarded(Made(count, bad), skip=1.0, held=held)
    for number in order:
        good = sides[bool(held[number])]
        if not good:
            with pytest.raises(
                BadInput, match=r"web\.made: none of its .* records can be read: made: record"
            ):
                guarded[number]
            continue
        expected = next((n for n in good if n >= number), good[0])
        assert guarded.stands_in(number) == expected
        assert guarded[number].turns == guarded.turns(number) == Made(count).turns(expected)
    assert guarded.damaged.keys() <= bad


def test_asked_by_threads_it_answers_the_same() -> None:
    bad = frozenset(random.Random(0).sample(range(400), 60))
    alone = Guarded(Made(400, bad), skip=1.0)
    wanted = [alone[number].turns for number in range(400)]
    together = Guarded(Made(400, bad), skip=1.0)
    order = random.Random(1).sample(range(400), 400)
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(order, pool.map(lambda number: together[number].turns, order), strict=True))
    assert [found[number] for number in range(400)] == wanted
    assert set(together.damaged) == bad and together.tried == 400


def test_a_record_is_read_once_where_it_is_good() -> None:
    source = Made(300)
    guarded = Guarded(source)
    source.asked.clear()
    guarded[77]
    assert source.asked == [77]


def test_too_much_damage_ends_it_and_names_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    few = Guarded(Made(1000, frozenset(range(5, 1000, 200))), skip=0.01)
    for number in range(1000):
        few[number]
    told = "web.made: 5 of 1,000 records damaged (5 x rotten); counted are those that this process has read"
    assert few.summary() == told
    many = Guarded(Made(1000, frozenset(range(501, 700))), skip=0.05)
    with pytest.raises(
        BadInput, match=r"more than the 5\.0% of mixture\.skip: made: record .*; made.*; \.\.\.$"
    ):
        for number in range(1000):
            many[number]
    assert 500 < number < 560
    said = capsys.readouterr().err
    assert said.count("rotten") <= 1  # each kind once


def test_the_first_one_is_too_many_where_none_is_put_up_with() -> None:
    guarded = Guarded(Made(1000, frozenset([500])), skip=0.0)
    with pytest.raises(BadInput, match="1 of"):
        guarded[500]


@pytest.mark.parametrize("count", [1, 7, 500])
@pytest.mark.parametrize("skip", [0.01, 1.0])
def test_a_source_of_which_nothing_is_good_fails_at_once(count: int, skip: float) -> None:
    with pytest.raises(BadInput, match=r"web\.made: "):
        Guarded(Made(count, frozenset(range(count))), skip=skip)


def test_a_wrong_folder_of_pictures_shows_at_the_start(tmp_path: Path) -> None:
    config = make_coco(tmp_path / "data", 20)
    (tmp_path / "empty").mkdir()
    source = open_source("a", CocoConfig(path=config.path, images=str(tmp_path / "empty")))
    with pytest.raises(BadInput, match=r"web\.a: 16 of 16 records tried are damaged.*the picture is missing"):
        Guarded(source, skip=0.02)
