import pickle
from threading import Lock

import pytest

from diffes.errors import CheckpointError, DiffesError, InvalidInput, SearchError
from search.distributed.messages import Judge, Measure, Raised
from search.error_table import TableEntry


class _Unportable(Exception):
    def __init__(self, lock: object, _reason: str) -> None:
        super().__init__("cannot travel")
        self.lock = lock


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("label", expected="0..9", found=11, remedy="Count again."),
        CheckpointError("cannot read", expected="a file", found=None),
        ZeroDivisionError("by zero"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_crosses_a_process_boundary_as_it_is(error: Exception) -> None:
    there = pickle.loads(pickle.dumps(Raised.of(error))).error
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert vars(there) == vars(error)


def test_an_error_that_cannot_travel_is_quoted() -> None:
    there = pickle.loads(pickle.dumps(Raised.of(_Unportable(Lock(), "held")))).error
    assert isinstance(there, SearchError)
    assert "_Unportable: cannot travel" in str(there)


def test_a_diffes_error_keeps_its_parts_when_pickled() -> None:
    there: DiffesError = pickle.loads(pickle.dumps(InvalidInput("seed", expected="a number", found="x")))
    assert (there.what, there.expected, there.found) == ("invalid seed", "a number", "x")


def test_tasks_say_what_they_are_about() -> None:
    assert str(Judge("t", (1, 2))) == "genome [1, 2]"
    entries = (TableEntry(0, 0, 1, "0/all/heads/1"), TableEntry(0, 1, 1, "0/all/channels/1"))
    assert str(Measure("t", entries)) == "table entries 0/all/heads/1, 0/all/channels/1"
