"""Places in words and back."""

from hypothesis import given
from hypothesis import strategies as st

from vla.data.web.sample import Box
from vla.tokens.locations import read, tell, words
from vla.tokens.text import TextTokenizer

EDGE = st.floats(0, 1)


@given(EDGE, EDGE, EDGE, EDGE, st.integers(2, 1024))
def test_a_box_comes_back_within_half_a_step(a: float, b: float, c: float, d: float, count: int) -> None:
    box = Box(min(a, c), min(b, d), max(a, c), max(b, d))
    said = tell(box, count)
    found = read(said, count)
    assert found is not None and set(said.split()) <= set(words(count))
    for edge in ("left", "top", "right", "bottom"):
        assert abs(getattr(found, edge) - getattr(box, edge)) <= 0.5 / (count - 1) + 1e-9


def test_what_is_told() -> None:
    assert tell(Box(0.0, 0.5, 1.0, 2.0), 64) == "loc0 loc32 loc63 loc63"
    assert read("it is at loc0 loc 32 LOC63 loc63.", 64) == Box(0.0, 32 / 63, 1.0, 1.0)


def test_what_is_no_box() -> None:
    for text in (
        "",
        "loc1 loc2 loc3",
        "loc1 loc2 loc3 loc4 loc5",
        "loc9 loc1 loc3 loc4",
        "loc1 loc2 loc3 loc64",
    ):
        assert read(text, 64) is None


def test_each_is_one_word_of_the_projects_tokenizer() -> None:
    tokenizer = TextTokenizer.train(words(64))
    assert tokenizer.size == 64
    assert tokenizer.decode(tokenizer.ids("loc3 loc10", 4)) == "loc3 loc10"
