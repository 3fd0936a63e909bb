from hypothesis import given
from hypothesis import strategies as st

from vla.tokens.vocabulary import CONTROLS, Vocabulary


@given(st.integers(0, 5000), st.integers(1, 1024))
def test_ranges_tile_the_id_space(text: int, codes: int) -> None:
    v = Vocabulary(text, codes)
    ids = [*v.text_range, *v.action_range, *v.control_range]
    assert ids == list(range(v.size))
    assert len({v.pad, v.bos, v.eos}) == len(CONTROLS)
    assert all(i in v.control_range for i in (v.pad, v.bos, v.eos))
