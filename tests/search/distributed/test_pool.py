"""The pool on a crew that is a script: no processes."""

from collections import deque
from collections.abc import Callable, Sequence

import pytest

from diffes.errors import InvalidInput, SearchError
from search.distributed.messages import Answer, Judge, Lost, Raised, Ready, Reply, Task
from search.distributed.pool import Pool

GENOMES = [(n, 0) for n in range(6)]
KILLED = Lost("killed by SIGKILL")

Script = Callable[[int, Judge], Reply]


class ScriptedCrew:
    """Workers that answer by a script: the one asked last (`at` -1) or first (0) before the others.

    `starts` are replies to being started; after them every start succeeds.
    """

    def __init__(self, script: Script, size: int = 2, starts: Sequence[Reply] = (), at: int = -1) -> None:
        self.script = script
        self.at = at
        self.size = size
        self.starts = deque(starts)
        self.starting: list[tuple[int, Reply]] = []
        self.replies: list[tuple[int, Reply]] = []
        self.busy: set[int] = set()
        self.asked: list[tuple[int, Task]] = []

    def start(self, worker: int) -> None:
        self.starting.append((worker, self.starts.popleft() if self.starts else Ready("alike")))

    def ask(self, worker: int, task: Task) -> None:
        assert worker not in self.busy
        assert isinstance(task, Judge)
        self.busy.add(worker)
        self.asked.append((worker, task))
        self.replies.append((worker, self.script(worker, task)))

    def wait(self, *, block: bool) -> list[tuple[int, Reply]]:
        if not block:
            return []
        if self.starting:
            started, self.starting = self.starting, []
            return started
        worker, reply = self.replies.pop(self.at)
        self.busy.discard(worker)
        return [(worker, reply)]


def first_gene(_worker: int, task: Judge) -> Reply:
    return Answer([task.genome[0]])


def run(crew: ScriptedCrew, genomes: Sequence[tuple[int, ...]] = tuple(GENOMES)) -> list[float]:
    tasks = [Judge("teacher", genome) for genome in genomes]
    return [value for values in Pool(crew, "alike").run(tasks) for value in values]


def test_values_come_in_the_order_asked_whoever_is_first() -> None:
    crew = ScriptedCrew(first_gene, size=3)
    assert run(crew) == [0, 1, 2, 3, 4, 5]
    assert {worker for worker, _ in crew.asked} == {0, 1, 2}


def test_what_a_lost_worker_was_asked_is_asked_again() -> None:
    losses = iter([KILLED, KILLED])

    def script(worker: int, task: Judge) -> Reply:
        return next(losses, first_gene(worker, task)) if task.genome == GENOMES[2] else first_gene(worker, task)

    crew = ScriptedCrew(script)
    assert run(crew) == [0, 1, 2, 3, 4, 5]
    assert [task for _, task in crew.asked].count(Judge("teacher", GENOMES[2])) == 3


def test_a_genome_that_loses_three_workers_is_named_with_the_signal() -> None:
    crew = ScriptedCrew(lambda worker, task: KILLED if task.genome == GENOMES[3] else first_gene(worker, task))
    with pytest.raises(SearchError, match=r"genome \[3, 0\].*3 workers lost, the last one killed by SIGKILL"):
        run(crew)


def test_losses_of_different_genomes_do_not_add_up() -> None:
    lost: set[tuple[int, ...]] = set()

    def once_each(worker: int, task: Judge) -> Reply:
        if task.genome in lost:
            return first_gene(worker, task)
        lost.add(task.genome)
        return KILLED

    assert run(ScriptedCrew(once_each)) == [0, 1, 2, 3, 4, 5]


def test_a_worker_that_never_starts_is_an_error_and_not_a_wait() -> None:
    with pytest.raises(SearchError, match="worker 0 cannot start.*exit code 1"):
        run(ScriptedCrew(first_gene, size=1, starts=[Lost("ended with exit code 1")] * 3))


def test_a_worker_that_starts_at_last_is_taken() -> None:
    assert run(ScriptedCrew(first_gene, size=1, starts=[KILLED, KILLED])) == [0, 1, 2, 3, 4, 5]


def test_an_error_of_the_start_is_raised_as_it_is() -> None:
    error = InvalidInput("objective", expected="one that exists", found="nonsense")
    with pytest.raises(InvalidInput, match="nonsense"):
        run(ScriptedCrew(first_gene, starts=[Ready("alike"), Raised(error)]))


def test_a_worker_that_rounds_otherwise_is_refused() -> None:
    with pytest.raises(SearchError, match="round otherwise.*expected alike, found 4 threads"):
        run(ScriptedCrew(first_gene, starts=[Ready("4 threads")]))


def test_an_error_in_a_task_is_raised_after_the_values_before_it() -> None:
    error = ZeroDivisionError("in a worker")
    crew = ScriptedCrew(lambda w, task: Raised(error) if task.genome == GENOMES[2] else first_gene(w, task))
    values = Pool(crew, "alike").run([Judge("teacher", genome) for genome in GENOMES])
    assert [next(values), next(values)] == [[0], [1]]
    with pytest.raises(ZeroDivisionError, match="in a worker"):
        next(values)


def test_a_run_left_early_does_not_mix_with_the_next() -> None:
    crew = ScriptedCrew(first_gene, size=2, at=0)
    pool = Pool(crew, "alike")
    left = pool.run([Judge("teacher", genome) for genome in GENOMES])
    assert next(left) == [0]
    later = [Judge("teacher", (n, 1)) for n in (7, 8, 9)]
    assert list(pool.run(later)) == [[7], [8], [9]]
    assert Judge("teacher", GENOMES[5]) not in [task for _, task in crew.asked]


def test_a_worker_lost_over_a_task_given_up_is_replaced_without_it() -> None:
    crew = ScriptedCrew(lambda w, task: KILLED if task.genome == GENOMES[1] else first_gene(w, task), at=0)
    pool = Pool(crew, "alike")
    tasks = [Judge("teacher", GENOMES[0]), Judge("teacher", GENOMES[1])]
    next(pool.run(tasks))
    assert list(pool.run([Judge("teacher", (7, 1))])) == [[7]]
