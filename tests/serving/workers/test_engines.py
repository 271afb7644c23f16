"""Two workers' engines as one, each of them real, but in this process: placed by load, heard, cancelled, lost."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest
import torch

from diffes.bundle import Bundle
from diffes.engine.costs import StepCosts
from diffes.engine.engine import Engine
from diffes.engine.request import Limits, Preview, Progress, Request, Result
from diffes.errors import EngineError, InvalidInput, Lost, NotReady, Overloaded
from diffes.pruning.model import PrunedModel
from diffes.serving.workers.engines import Engines
from diffes.serving.workers.host import Host
from diffes.serving.workers.ids import new_id
from diffes.serving.workers.loads import Duty
from diffes.serving.workers.place import Place
from tests.engine.conftest import STEPS, MemoryBackend, bundle, model
from tests.engine.driving import TOLERANCE
from tests.prompting import of_label
from tests.serving.waiting import wait_for

__all__ = ["bundle", "model"]

COSTS = {f"step{number}": {1: 1.0, 64: 64.0} for number in range(2)}


class Worker:
    """One of two, in this process; `gate` lets its steps go on."""

    def __init__(self, bundle: Bundle, model: PrunedModel, place: Place) -> None:
        self.backend = MemoryBackend(bundle, model)
        self.gate = threading.Event()
        self.gate.set()
        self.backend.before = lambda *_: self.wait()
        self.own = Engine(bundle, self.backend, Limits(queue=2), costs=StepCosts(COSTS))
        self.own.start()
        self.lost = 0
        self.all = Engines(place, bundle, Limits(), self.lose)
        self.duty = Duty(place)
        self.host = Host(place.socket(place.worker), self.own, self.duty.forget)
        self.duty.ready(yes=True)

    def wait(self) -> None:
        assert self.gate.wait(30)

    def lose(self) -> None:
        self.lost += 1

    def close(self) -> None:
        """As its two processes do."""
        self.duty.ready(yes=False)
        self.own.close(limit=10)
        self.all.close(limit=10)
        self.host.close()

    def end(self) -> None:
        self.gate.set()
        self.close()


def entered(folder: Path) -> Callable[[int], Place]:
    """The place of a worker of three."""

    def enter(worker: int) -> Place:
        place = Place(folder / "place", worker, 3)
        place.enter()
        return place

    return enter


@pytest.fixture
def workers(bundle: Bundle, model: PrunedModel, tmp_path: Path) -> Iterator[tuple[Worker, Worker]]:
    one, two = (Worker(bundle, model, place) for place in map(entered(tmp_path), (1, 2)))
    yield one, two
    one.end()
    two.end()


def held(worker: Worker) -> Future[Result]:
    """Something that its engine is busy with until its gate opens."""
    worker.gate.clear()
    return worker.all.submit(Request(prompt=of_label(0), seed=0, id=new_id(1)))


def elsewhere(one: Worker, two: Worker) -> tuple[Future[Result], Future[Result], str]:
    """Two requests that the first worker is asked for; the second of them is placed on the other, and its id."""
    first, there = held(one), new_id(1)
    two.gate.clear()
    second = one.all.submit(Request(prompt=of_label(1), seed=1, id=there))
    return first, second, there


def test_requests_that_come_to_one_worker_are_served_by_both(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    futures = [one.all.submit(Request(prompt=of_label(0), seed=seed, id=new_id(1))) for seed in range(4)]
    assert all(future.result(timeout=30) for future in futures)
    assert one.backend.calls
    assert two.backend.calls


def test_images_are_the_same_wherever_they_are_made(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    first, second, _ = elsewhere(one, two)
    one.gate.set()
    two.gate.set()
    first.result(timeout=30)
    alone = one.own.submit(Request(prompt=of_label(1), seed=1)).result(timeout=30)
    there = second.result(timeout=30)
    assert torch.allclose(there.images, alone.images, atol=TOLERANCE)
    assert there.request.id.startswith("img-1-")
    assert sum(stage.steps for stage in there.timings.stages) == STEPS


def test_steps_and_previews_elsewhere_are_heard_here(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    held(one)
    heard: list[Progress | Preview] = []
    asked = Request(prompt=of_label(1), seed=1, previews=1, id=new_id(1))
    one.all.submit(asked, heard.append).result(timeout=30)
    assert [event.step for event in heard if isinstance(event, Progress)] == list(range(1, STEPS + 1))
    (preview,) = (event for event in heard if isinstance(event, Preview))
    assert preview.pixels.shape == (3, 8, 8)
    assert two.backend.calls


def test_a_caller_that_leaves_is_dropped_elsewhere_too(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    _, second, _ = elsewhere(one, two)
    assert second.cancel()
    wait_for(lambda: not two.own._inside)
    two.gate.set()
    assert len(two.backend.calls) <= 1


@pytest.mark.parametrize("asked", [0, 1])
def test_a_request_is_cancelled_by_its_id_through_any_worker(workers: tuple[Worker, Worker], asked: int) -> None:
    one, two = workers
    _, second, there = elsewhere(one, two)
    assert workers[asked].all.cancel(there)
    with pytest.raises(CancelledError):
        second.result(timeout=30)
    assert not workers[asked].all.cancel(there)
    assert not two.own._inside


@pytest.mark.parametrize(
    "unknown",
    ["", "img-1", new_id(1), new_id(2), new_id(7)],
    ids=["empty", "without an engine", "the first engine's", "the second's", "no engine's"],
)
def test_an_id_that_is_nowhere_cancels_nothing(workers: tuple[Worker, Worker], unknown: str) -> None:
    assert [worker.all.cancel(unknown) for worker in workers] == [False, False]


def test_a_worker_that_warms_up_has_the_others_serve_what_it_is_asked_for(
    workers: tuple[Worker, Worker], bundle: Bundle, tmp_path: Path
) -> None:
    one, two = workers
    three = Engines(entered(tmp_path)(3), bundle, Limits(), lambda: None)
    assert three.ready == {1, 2}
    futures = [three.submit(Request(prompt=of_label(0), seed=seed)) for seed in range(4)]
    assert all(future.result(timeout=30) for future in futures)
    assert one.backend.calls
    assert two.backend.calls
    with pytest.raises(InvalidInput):
        three.submit(Request(prompt=of_label(0), seed=-1))
    with pytest.raises(InvalidInput):
        three.submit(Request(prompt=of_label(0), seed=0, steps=0))
    assert not three.cancel(new_id(3))
    for worker in workers:
        worker.duty.ready(yes=False)
    assert not three.ready
    with pytest.raises(NotReady, match="expected an engine that serves, found none"):
        three.submit(Request(prompt=of_label(0), seed=0))
    three.close(limit=1)


def test_what_was_placed_counts_as_what_the_engine_says_it_takes(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    asked = Request(prompt=of_label(0), seed=0, id=new_id(1))
    one.gate.clear()
    one.all.submit(asked)
    assert one.all._loads._mine[0] == pytest.approx(two.own.work(asked))
    assert two.own.work(asked) > 1  # not a hundredth of a second a step


def test_what_is_wrong_with_a_request_is_said_at_once(workers: tuple[Worker, Worker]) -> None:
    one, _ = workers
    for wrong in (Request(prompt=of_label(0), seed=-1), Request(prompt=of_label(0), seed=0, steps=0)):
        with pytest.raises(InvalidInput):
            one.all.submit(wrong)
    assert one.all._loads.assign(1.0) == 1  # as free as before


def test_a_refusal_elsewhere_is_a_refusal_here(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    held(one)
    with pytest.raises(Overloaded) as refusal:
        one.all.submit(Request(prompt=of_label(0), seed=0, timeout=0.5, id=new_id(1)))
    assert refusal.value.reason == "deadline"
    assert refusal.value.retry_after == 0  # the other has nothing to do
    assert one.all._loads.assign(1.0) == 2  # nothing stays placed there
    assert not two.backend.calls


def test_an_engine_that_fails_elsewhere_says_why_here(workers: tuple[Worker, Worker]) -> None:
    one, two = workers

    def fail(graph: str, _rows: int) -> None:
        if graph == "decode":
            raise RuntimeError("no such kernel")

    two.backend.before = fail
    held(one)
    with pytest.raises(EngineError, match="the decoder failed"):
        one.all.submit(Request(prompt=of_label(0), seed=0, id=new_id(1))).result(timeout=30)


def test_when_a_worker_is_lost_its_requests_end_in_an_error_and_the_others_go_on(
    workers: tuple[Worker, Worker],
) -> None:
    one, two = workers
    first, second, _ = elsewhere(one, two)
    two.host.close()  # as if it were killed: the socket's file stays
    with pytest.raises(Lost, match="engine 2 ended before the request was done.* Send it again"):
        second.result(timeout=30)
    wait_for(lambda: one.lost == 1)
    third = one.all.submit(Request(prompt=of_label(0), seed=2, id=new_id(1)))  # though the other has less to do
    one.gate.set()
    assert first.result(timeout=30)
    assert third.result(timeout=30)
    wait_for(lambda: not two.own._inside)


def test_a_worker_that_closes_sends_what_it_still_can_and_gets_no_more(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    _, second, _ = elsewhere(one, two)
    closing = threading.Thread(target=two.close)
    closing.start()
    wait_for(lambda: not two.duty.is_ready)
    here = one.all.submit(Request(prompt=of_label(0), seed=3, id=new_id(1)))
    two.gate.set()
    assert second.result(timeout=30)
    closing.join(timeout=30)
    one.gate.set()
    assert here.result(timeout=30)
    assert one.lost == 0


def test_a_worker_that_is_about_to_end_has_the_others_serve_what_it_is_asked_for(
    workers: tuple[Worker, Worker],
) -> None:
    one, two = workers
    one.duty.ready(yes=False)
    assert one.all.submit(Request(prompt=of_label(0), seed=0)).result(timeout=30)
    assert two.backend.calls
    assert not one.backend.calls


def test_when_an_engine_has_stopped_its_own_worker_has_the_others_serve(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    one.own.close()
    assert one.all.submit(Request(prompt=of_label(0), seed=0)).result(timeout=30)
    assert two.backend.calls


def test_a_worker_that_closes_waits_for_what_others_do_for_it(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    _, second, _ = elsewhere(one, two)
    one.gate.set()
    closing = threading.Thread(target=one.all.close, args=(30,))
    closing.start()
    closing.join(timeout=0.5)
    assert closing.is_alive()
    two.gate.set()
    closing.join(timeout=30)
    assert second.result(timeout=0)


def test_a_worker_that_went_away_leaves_no_work_to_others(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    elsewhere(one, two)
    for link in one.all._links.values():
        link.close()  # as if the first were killed
    wait_for(lambda: not two.own._inside)
    wait_for(lambda: two.all._loads._table[0, 1] == 0)


def test_many_threads_at_once_get_all_their_answers(workers: tuple[Worker, Worker]) -> None:
    answers: dict[tuple[int, int], Result] = {}

    def ask(which: int, seed: int) -> Callable[[], None]:
        def submit() -> None:
            while (which, seed) not in answers:
                try:
                    request = Request(prompt=of_label(0), seed=seed, id=new_id(which + 1))
                    answers[which, seed] = workers[which].all.submit(request).result(timeout=30)
                except Overloaded:
                    threading.Event().wait(0.01)

        return submit

    threads = [threading.Thread(target=ask(which, seed)) for which in (0, 1) for seed in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(answers) == 40
    assert all(result.request.seed == seed for (_, seed), result in answers.items())
    table = workers[0].all._loads._table
    wait_for(lambda: not table[:-1].any())
