from io import StringIO

import pytest
from rich.console import Console

from search.progress import Reporter


def test_a_pipe_gets_plain_lines_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    said = StringIO()
    with Reporter(Console(file=said)).phase("table") as advance:
        for second in range(1, 41):
            now[0] = float(second)
            advance(second / 40)
    assert said.getvalue().splitlines() == [
        "table: 25%, about 30 s left",
        "table: 50%, about 20 s left",
        "table: 75%, about 10 s left",
        "table: done in 40.0 s",
    ]


def test_a_terminal_gets_a_bar() -> None:
    said = StringIO()
    with Reporter(Console(file=said, force_terminal=True, width=100)).phase("evolve") as advance:
        advance(1.0)
    assert "evolve" in said.getvalue()
    assert "100%" in said.getvalue()


def test_a_phase_that_fails_is_not_said_to_be_done() -> None:
    said = StringIO()
    with pytest.raises(ValueError, match="broken"), Reporter(Console(file=said)).phase("table"):
        raise ValueError("broken")
    assert said.getvalue() == ""
