import inspect

import pytest

from diffes import errors
from diffes.errors import DiffesError, InvalidInput

OWN = [found for _, found in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("error", OWN)
def test_every_error_is_a_diffes_error_and_in_the_tree_of_the_docstring(error: type[Exception]) -> None:
    assert issubclass(error, DiffesError)
    assert error.__name__ in (errors.__doc__ or "")


def test_a_message_says_what_was_expected_found_and_what_to_do() -> None:
    error = DiffesError("the file is short", expected="8 bytes", found=3, remedy="Copy it again.")
    assert str(error) == "the file is short: expected 8 bytes, found 3. Copy it again."


def test_a_found_value_that_is_false_is_still_named() -> None:
    assert str(DiffesError("too few", expected=1, found=0)) == "too few: expected 1, found 0"
    assert str(DiffesError("nothing to add")) == "nothing to add"


def test_invalid_input_names_its_field() -> None:
    error = InvalidInput("steps", expected="1..1000", found=0)
    assert error.field == "steps"
    assert str(error) == "invalid steps: expected 1..1000, found 0"
