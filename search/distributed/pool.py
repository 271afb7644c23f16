"""Hands tasks to whichever worker is free, asks again what a lost one was asked, gives values in order.

How workers are reached is a crew's business: processes of this machine, or Ray's actors.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from diffes.errors import SearchError
from search.distributed.arithmetic import require_equal
from search.distributed.messages import Answer, Lost, Raised, Ready, Reply, Task

MOST_LOSSES = 3  # of workers over one task, or of one worker over its start


class Crew(Protocol):
    """Workers by number. Each is started, says that it is ready, and answers one task at a time.

    A lost one stays lost until it is started again.
    """

    @property
    def size(self) -> int:
        """How many workers there are."""

    def start(self, worker: int) -> None:
        """Begin to start a worker; its reply says when it is ready."""

    def ask(self, worker: int, task: Task) -> None:
        """Give a task to a worker that is ready and has none."""

    def wait(self, *, block: bool) -> list[tuple[int, Reply]]:
        """Replies that have come, by worker; blocks until there is one, if asked to."""


@dataclass(eq=False)
class _Ticket:
    """A task on its way: how many workers were lost over it, and what came of it."""

    task: Task
    losses: int = 0
    outcome: Answer | Raised | None = None
    given_up: bool = False


class Pool:
    """Runs tasks on a crew, whose workers it starts; `arithmetic` is what theirs must be."""

    def __init__(self, crew: Crew, arithmetic: str) -> None:
        self._crew = crew
        self._arithmetic = arithmetic
        self._free: deque[int] = deque()
        self._under_way: dict[int, _Ticket] = {}
        self._waiting: deque[_Ticket] = deque()
        self._failed_starts: Counter[int] = Counter()
        for worker in range(crew.size):
            crew.start(worker)

    def run(self, tasks: Sequence[Task]) -> Iterator[Sequence[float]]:
        """Each task's values, in order, as soon as they and those before are there.

        Raises what a task raised in its worker, once the tasks before it are done; SearchError for a task over which
        three workers were lost, or a worker that cannot start. One run at a time: what an earlier one, left before
        its end, still waits for is given up.
        """
        for left in self._under_way.values():
            left.given_up = True
        tickets = [_Ticket(task) for task in tasks]
        self._waiting = deque(tickets)
        for ticket in tickets:
            self._turn(block=False)  # nobody idles while the caller works on what it got
            while ticket.outcome is None:
                self._turn(block=True)
            if isinstance(ticket.outcome, Raised):
                raise ticket.outcome.error
            yield ticket.outcome.values

    def _turn(self, *, block: bool) -> None:
        for worker, reply in self._crew.wait(block=block and not (self._free and self._waiting)):
            self._take(worker, reply)
        while self._free and self._waiting:
            worker, ticket = self._free.popleft(), self._waiting.popleft()
            self._under_way[worker] = ticket
            self._crew.ask(worker, ticket.task)

    def _take(self, worker: int, reply: Reply) -> None:
        ticket = self._under_way.pop(worker, None)
        if isinstance(reply, Lost):
            self._replace(worker, ticket, reply)
        elif ticket is None:
            self._welcome(worker, reply)
        else:
            assert not isinstance(reply, Ready)
            ticket.outcome = reply
            self._free.append(worker)

    def _welcome(self, worker: int, reply: Reply) -> None:
        """Take in a worker that has started."""
        if isinstance(reply, Raised):
            raise reply.error
        assert isinstance(reply, Ready)
        require_equal(reply.arithmetic, self._arithmetic)
        self._failed_starts[worker] = 0
        self._free.append(worker)

    def _replace(self, worker: int, ticket: _Ticket | None, lost: Lost) -> None:
        """Start a lost worker again, and put what it was asked first in the queue."""
        if worker in self._free:  # lost between two tasks
            self._free.remove(worker)
        elif ticket is None:
            self._failed_starts[worker] += 1
            _require_few(self._failed_starts[worker], f"worker {worker} cannot start", lost)
        elif not ticket.given_up:
            ticket.losses += 1
            _require_few(ticket.losses, f"every worker asked for {ticket.task} was lost", lost)
            self._waiting.appendleft(ticket)
        self._crew.start(worker)


def _require_few(losses: int, what: str, lost: Lost) -> None:
    if losses >= MOST_LOSSES:
        raise SearchError(
            what,
            expected="an answer",
            found=f"{losses} workers lost, the last one {lost.how}",
            remedy="SIGKILL is mostly the system out of memory: take fewer workers, or a smaller batch. Then --resume.",
        )
