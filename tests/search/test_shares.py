import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.shares import read_share

SHARES = st.floats(0.001, 0.999)


@given(SHARES)
def test_a_share_is_a_number_or_its_text(share: float) -> None:
    assert read_share(share) == read_share(str(share)) == share


@given(SHARES, SHARES)
def test_a_range_is_a_pair_or_its_text_and_rises(first: float, second: float) -> None:
    if first < second:
        assert read_share([first, second]) == read_share(f"{first}:{second}") == (first, second)
    else:
        with pytest.raises(ValueError, match="a range LOW:HIGH"):
            read_share((first, second))


def test_none_asks_for_nothing() -> None:
    assert read_share(None) is None


@pytest.mark.parametrize(
    "value", [0, 1, -0.1, True, "half", "0.2:", "0.1:0.2:0.3", [], [0.2, "x"], {}, float("nan"), "0:0.5", "0.5:1"]
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a share between 0 and 1"):
        read_share(value)
