"""Requests between their callers' threads and the engine's."""

from collections.abc import Callable, Hashable
from threading import Condition
from typing import Generic, TypeVar

from diffes.errors import Closed, Overloaded

Item = TypeVar("Item", bound=Hashable)


class BoundedQueue(Generic[Item]):
    """First come, first served, up to `limit` items. What an engine asks at every step costs the same however many
    wait.
    """

    def __init__(self, limit: int, size: Callable[[Item], int] = lambda _: 1) -> None:
        """`size` is what `total` counts of an item."""
        self._limit = limit
        self._size = size
        self._items: dict[Item, None] = {}  # in order
        self._total = 0
        self._closed = False
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def total(self) -> int:
        """Sizes of all items inside, summed."""
        return self._total

    def put(self, item: Item) -> None:
        """Append; Overloaded when full, Closed when closed."""
        with self._changed:
            if self._closed:
                raise Closed("the engine is closed", remedy="Send the request to another server.")
            if len(self._items) >= self._limit:
                raise Overloaded(
                    "the queue is full",
                    reason="queue_full",
                    expected=f"at most {self._limit} waiting requests",
                    found=len(self._items),
                )
            self._items[item] = None
            self._total += self._size(item)
            self._changed.notify_all()

    def take(self, fits: Callable[[Item], bool]) -> Item | None:
        """Remove and return the first item if it fits, else None: a later one never overtakes it."""
        with self._changed:
            first = next(iter(self._items), None)
            if first is None or not fits(first):
                return None
            self._remove(first)
            return first

    def discard(self, item: Item) -> None:
        """It has left, and holds no place; nothing happens if it is not inside."""
        with self._changed:
            if item in self._items:
                self._remove(item)

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
            return tuple(self._items)

    def _remove(self, item: Item) -> None:
        del self._items[item]
        self._total -= self._size(item)
