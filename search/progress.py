"""Progress of the phases: bars with the time left on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY = 10.0  # seconds between plain lines of one phase

Advance = Callable[[float], None]  # share of the phase done, 0..1


class Reporter:
    """Says what a search does on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[Advance]:
        """Show one phase; call what is yielded with the share done."""
        show = self._bar if self._console.is_terminal else self._lines
        with show(name) as advance:
            yield advance

    @contextmanager
    def _bar(self, name: str) -> Iterator[Advance]:
        columns = (TextColumn("{task.description:<10}"), BarColumn(), TaskProgressColumn())
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, *times, console=self._console) as progress:
            task = progress.add_task(name, total=1.0)
            yield lambda share: progress.update(task, completed=share)

    @contextmanager
    def _lines(self, name: str) -> Iterator[Advance]:
        start = shown = time.monotonic()

        def advance(share: float) -> None:
            nonlocal shown
            now = time.monotonic()
            if 0 < share < 1 and now - shown >= _LINE_EVERY:
                shown = now
                left = (now - start) * (1 - share) / share
                self.say(f"{name}: {share:.0%}, about {left:.0f} s left")

        yield advance
        self.say(f"{name}: done in {time.monotonic() - start:.1f} s")
