"""The bounded queue between callers and the engine."""

from threading import Thread

import pytest

from diffes.engine.queue import BoundedQueue
from diffes.errors import EngineError, Overloaded


class Item:
    def __init__(self, size: int = 1) -> None:
        self.size = size


def queue_of(limit: int) -> BoundedQueue[Item]:
    return BoundedQueue(limit, lambda item: item.size)


def test_items_come_out_in_the_order_they_went_in() -> None:
    queue, items = queue_of(3), [Item(), Item(), Item()]
    for item in items:
        queue.put(item)
    assert [queue.take(lambda _: True) for _ in range(4)] == [*items, None]


def test_a_full_queue_refuses_until_an_item_has_left() -> None:
    queue, first = queue_of(1), Item()
    queue.put(first)
    with pytest.raises(Overloaded):
        queue.put(Item())
    queue.discard(first)
    queue.discard(first)
    queue.put(second := Item())
    assert queue.waiting() == (second,)


def test_the_sizes_of_all_inside_are_known() -> None:
    queue, items = queue_of(3), [Item(size=2), Item(size=3), Item(size=5)]
    for item in items:
        queue.put(item)
    assert (len(queue), queue.total) == (3, 10)
    queue.discard(items[1])
    assert queue.take(lambda _: True) is items[0]
    assert (len(queue), queue.total) == (1, 5)


def test_a_later_item_never_overtakes_the_first() -> None:
    queue = queue_of(2)
    queue.put(Item(size=5))
    queue.put(Item(size=1))
    assert queue.take(lambda item: item.size < 5) is None


def test_a_closed_queue_gives_out_what_it_holds_and_takes_nothing() -> None:
    queue = queue_of(2)
    queue.put(Item())
    queue.close()
    assert queue.wait()
    assert queue.take(lambda _: True) is not None
    assert not queue.wait()
    with pytest.raises(EngineError, match="closed"):
        queue.put(Item())


def test_waiting_ends_when_an_item_comes() -> None:
    queue = queue_of(1)
    came: list[bool] = []
    waiter = Thread(target=lambda: came.append(queue.wait()))
    waiter.start()
    queue.put(Item())
    waiter.join(timeout=10)
    assert came == [True]
