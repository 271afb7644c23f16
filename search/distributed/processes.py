"""Workers as processes of this machine, each on a device of its own or on its share of the cores."""

import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from search.distributed.messages import Assignment, Lost, Reply, Task
from search.distributed.worker import answered, started

_SPAWN = get_context("spawn")  # CUDA does not survive a fork, nor do torch's threads


@dataclass(frozen=True)
class _Member:
    process: SpawnProcess
    connection: Connection


class ProcessCrew:
    """One process an assignment. Teachers lie in the folder `teachers`."""

    def __init__(self, assignments: Sequence[Assignment], teachers: Path) -> None:
        self._assignments = assignments
        self._teachers = teachers
        self._members: dict[int, _Member] = {}

    @property
    def size(self) -> int:
        """One worker an assignment."""
        return len(self._assignments)

    @property
    def pids(self) -> dict[int, int | None]:
        """Process ids by worker."""
        return {number: member.process.pid for number, member in self._members.items()}

    def start(self, worker: int) -> None:
        """Start a process, anew if there was one."""
        ours, theirs = _SPAWN.Pipe()
        arguments = (theirs, self._assignments[worker], self._teachers)
        process = _SPAWN.Process(target=work, args=arguments, name=f"diffes-worker-{worker}", daemon=True)
        with _interrupts_held():
            process.start()
        theirs.close()  # so that its death ends the pipe
        self._members[worker] = _Member(process, ours)

    def ask(self, worker: int, task: Task) -> None:
        """Send a task; that its worker is gone is found out by the next `wait`."""
        try:
            self._members[worker].connection.send(task)
        except OSError:
            return

    def wait(self, *, block: bool) -> list[tuple[int, Reply]]:
        """Replies that have come."""
        numbers: dict[Any, int] = {member.connection: number for number, member in self._members.items()}
        readable = wait(list(numbers), None if block else 0)
        return [(numbers[connection], self._receive(numbers[connection])) for connection in readable]

    def close(self) -> None:
        """End every process now: none of them holds anything worth keeping."""
        for member in self._members.values():
            member.process.kill()
        for number in list(self._members):
            self._bury(number)

    def _receive(self, worker: int) -> Reply:
        try:
            reply: Reply = self._members[worker].connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):  # it died, perhaps in the middle of a reply
            return Lost(_how(self._bury(worker)))
        return reply

    def _bury(self, worker: int) -> int | None:
        """Forget a process that is dead or has closed its pipe; its exit code, negative for a signal."""
        member = self._members.pop(worker)
        member.connection.close()
        member.process.join(5)
        member.process.kill()
        member.process.join()
        code = member.process.exitcode
        member.process.close()
        return code


def work(connection: Connection, assignment: Assignment, teachers: Path) -> None:
    """A worker process from its start to the closing of its pipe."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker, reply = started(assignment)
    try:
        connection.send(reply)
        while worker is not None:
            connection.send(answered(worker, connection.recv(), lambda name: teachers / name))
    except (EOFError, OSError):
        return


def _end_with_parent() -> None:
    """A search that was killed cannot end its workers: they end by themselves, in the middle of a rollout."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal, but only the search is to act on it.

    A process inherits what is blocked when it starts, and so never sees it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # the first process would start it, which unblocks the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
