from math import inf, nan

import pytest

from diffes.pages.tables import Cell, count, number, plain_table, share


@pytest.mark.parametrize("value", [None, nan, inf, -inf])
def test_what_is_no_number_is_a_dash(value: float | None) -> None:
    assert number(value) == Cell("–")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.5, 3, "0.500"), (123.4, 3, "123"), (0.00012345, 3, "0.000123"), (1234.4, 4, "1234"), (-2.0, 2, "-2.0")],
)
def test_a_number_has_as_many_digits_as_asked(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == Cell(text, value)


def test_large_numbers_keep_all_their_digits_apart_by_thousands() -> None:
    assert number(1234567.8) == Cell("1\u202f234\u202f568", 1234567.8)
    assert count(12345) == Cell("12\u202f345", 12345)


def test_a_share_is_percent_and_keeps_its_exact_value() -> None:
    assert share(1 / 3) == Cell("33.3\u00a0%", 1 / 3)


def test_what_is_not_set_is_said() -> None:
    table = plain_table("Options", {"seed": 0, "limit": None})
    assert table.rows == [[Cell("seed"), Cell("0")], [Cell("limit"), Cell("not set")]]
