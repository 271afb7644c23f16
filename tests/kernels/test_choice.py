import json
from collections.abc import Callable
from pathlib import Path

import pytest

from diffes.kernels.choice import Choices, choosing, fastest


class Stopwatch:
    """A clock that reads a call's seconds off its result, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, run: Callable[[], object]) -> float:
        self.calls += 1
        return float(run())  # type: ignore[arg-type]


WAYS = {"slow": lambda: 3, "fast": lambda: 1, "middle": lambda: 2}


def test_the_fastest_is_taken_and_measured_once() -> None:
    clock = Stopwatch()
    choices = Choices(None, clock)
    with choosing(choices):
        assert [fastest("sum 8x8", WAYS) for _ in range(3)] == [1, 1, 1]
    assert clock.calls == len(WAYS)


def test_without_a_measurement_the_first_way_is_taken() -> None:
    assert fastest("sum 8x8", WAYS) == 3
    with choosing(Choices(None, Stopwatch())):
        assert fastest("sum 8x8", WAYS) == 1
    assert fastest("sum 8x8", WAYS) == 3


def test_the_next_process_takes_the_same_way_unmeasured(tmp_path: Path) -> None:
    first = Choices(tmp_path / "choices.json", Stopwatch())
    first.pick("sum 8x8", WAYS)
    first.save()
    clock = Stopwatch()
    assert Choices(tmp_path / "choices.json", clock).pick("sum 8x8", WAYS)() == 1
    assert clock.calls == 0


def test_processes_that_measured_different_shapes_forget_neither(tmp_path: Path) -> None:
    path = tmp_path / "choices.json"
    one, other = Choices(path, Stopwatch()), Choices(path, Stopwatch())
    one.pick("sum 8x8", WAYS)
    other.pick("sum 9x9", WAYS)
    one.save()
    other.save()
    assert json.loads(path.read_text()) == {"sum 8x8": "fast", "sum 9x9": "fast"}


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_damaged_file_is_measured_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "choices.json"
    path.write_text(content)
    choices = Choices(path, Stopwatch())
    assert choices.pick("sum 8x8", WAYS)() == 1
    choices.save()
    assert json.loads(path.read_text()) == {"sum 8x8": "fast"}


def test_a_way_that_is_no_longer_there_is_measured_anew() -> None:
    choices = Choices(None, Stopwatch())
    choices.pick("sum 8x8", WAYS)
    assert choices.pick("sum 8x8", {name: way for name, way in WAYS.items() if name != "fast"})() == 2
