"""Which of several ways to calculate the same is fastest here: measured once, remembered in a file.

What is fastest depends on shapes and the GPU and follows no rule worth writing down. A choice is part of how a number
is rounded, so it is kept: the next process takes the same way.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from diffes.files import write_text_atomically

T = TypeVar("T")
Clock = Callable[[Callable[[], object]], float]


class Choices:
    """Names of the fastest candidates by what they calculate; kept at `path` (None: in memory only).

    `clock` tells how long a call takes.
    """

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._chosen: dict[str, str] = _read(path) if path else {}
        self._saved = len(self._chosen)

    def pick(self, what: str, candidates: Mapping[str, Callable[[], T]]) -> Callable[[], T]:
        """The fastest candidate for `what`; the first one that is called if they are equally fast."""
        name = self._chosen.get(what)
        if name is None or name not in candidates:
            name = min(candidates, key=lambda candidate: self._clock(candidates[candidate]))
            self._chosen[what] = name
        return candidates[name]

    def save(self) -> None:
        """Write what was chosen, if anything is new."""
        if self._path is not None and len(self._chosen) > self._saved:
            known = _read(self._path) | self._chosen  # another process may have measured other shapes meanwhile
            write_text_atomically(self._path, json.dumps(known, indent=0, sort_keys=True) + "\n")
            self._saved = len(self._chosen)


_current: ContextVar[Choices | None] = ContextVar("choices", default=None)


@contextmanager
def choosing(choices: Choices) -> Iterator[None]:
    """Inside, operators take the fastest way that `choices` knows or finds."""
    token = _current.set(choices)
    try:
        yield
    finally:
        _current.reset(token)


def fastest(what: str, candidates: Mapping[str, Callable[[], T]]) -> T:
    """What the fastest candidate gives; outside of `choosing` the first one, which needs no measurement."""
    choices = _current.get()
    if choices is None or len(candidates) == 1:
        return next(iter(candidates.values()))()
    return choices.pick(what, candidates)()


def _read(path: Path) -> dict[str, str]:
    """What a file remembers; a file that is damaged remembers nothing, and is written anew."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(what): str(name) for what, name in found.items()} if isinstance(found, dict) else {}
