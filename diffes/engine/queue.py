"""Requests between their callers' threads and the engine's."""

from collections import deque
from collections.abc import Callable
from threading import Condition
from typing import Generic, TypeVar

from diffes.errors import Closed, Overloaded

Item = TypeVar("Item")


class BoundedQueue(Generic[Item]):
    """First come, first served, up to `limit` items; those that `gone` tells of have left and hold no place."""

    def __init__(self, limit: int, gone: Callable[[Item], bool]) -> None:
        self._limit = limit
        self._gone = gone
        self._items: deque[Item] = deque()
        self._closed = False
        self._changed = Condition()

    def put(self, item: Item) -> None:
        """Append; Overloaded when full, Closed when closed."""
        with self._changed:
            if self._closed:
                raise Closed("the engine is closed", remedy="Send the request to another server.")
            self._sweep()
            if len(self._items) >= self._limit:
                raise Overloaded(
                    "the queue is full",
                    reason="queue_full",
                    expected=f"at most {self._limit} waiting requests",
                    found=len(self._items),
                )
            self._items.append(item)
            self._changed.notify_all()

    def take(self, fits: Callable[[Item], bool]) -> Item | None:
        """Remove and return the first item if it fits, else None: a later one never overtakes it."""
        with self._changed:
            self._sweep()
            return self._items.popleft() if self._items and fits(self._items[0]) else None

    def wait(self) -> bool:
        """Block until there is an item (True), or the queue is closed and empty (False)."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            return bool(self._items)

    def close(self) -> None:
        """Take no more items; those inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def waiting(self) -> tuple[Item, ...]:
        """The items inside, first come first."""
        with self._changed:
            self._sweep()
            return tuple(self._items)

    def _sweep(self) -> None:
        if any(self._gone(item) for item in self._items):
            self._items = deque(item for item in self._items if not self._gone(item))
