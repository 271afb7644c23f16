import pytest
from pydantic import BaseModel

from diffes.documents import require_format, validated
from diffes.errors import LatencyError, ScheduleError


class Inner(BaseModel):
    counts: list[int]


class Outer(BaseModel):
    inner: Inner


def test_a_document_that_fits_is_read() -> None:
    assert validated(Outer, {"inner": {"counts": [1]}}, "file", ScheduleError).inner.counts == [1]


def test_the_first_wrong_entry_is_named_with_what_was_found_and_what_to_do() -> None:
    with pytest.raises(LatencyError, match=r"table t\.json is malformed at inner\.counts\.1.*found 'x'.*Measure again"):
        validated(Outer, {"inner": {"counts": [1, "x"]}}, "table t.json", LatencyError, remedy="Measure again.")


def test_what_is_wrong_altogether_is_wrong_at_the_top() -> None:
    with pytest.raises(ScheduleError, match="file is malformed at the top"):
        validated(Outer, 3, "file", ScheduleError)
    with pytest.raises(ScheduleError, match="file is malformed at schedule"):
        validated(Outer, 3, "file", ScheduleError, top="schedule")


@pytest.mark.parametrize("document", [{"format": 2}, {}, [], 1])
def test_another_format_is_refused(document: object) -> None:
    with pytest.raises(ScheduleError, match="file has an unknown format: expected format 1, found format"):
        require_format(document, "file", ScheduleError, remedy="Use the version that wrote it.")


def test_format_1_is_let_through() -> None:
    require_format({"format": 1}, "file", ScheduleError, remedy="")
