"""What the engine's thread does, turn by turn: admit, choose, launch a step, see to those that have landed.

A GPU works on one step while the next is chosen and launched, so that it never waits for the loop. A CPU's steps have
landed when they are launched. Trouble of a runtime ends the requests it belongs to, and a device that ran out of memory
gets smaller batches.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from math import inf

from torch import Tensor

from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.engine.admission import OfferedLoad
from diffes.engine.costs import StepCosts
from diffes.engine.deadlines import Deadlines
from diffes.engine.failures import failure, is_out_of_memory
from diffes.engine.job import ImageState, Job
from diffes.engine.observer import Observer, StageOf, StepReport
from diffes.engine.queue import BoundedQueue
from diffes.engine.request import Limits, Preview, Progress
from diffes.engine.scheduling import Scheduler, Situation
from diffes.engine.step import Decoding, Flight, Move, condition, decode, launch, start
from diffes.engine.timeline import Mark, Timeline
from diffes.errors import EngineError, Expired, FailureReason

_AHEAD = 1  # steps that are launched before another has landed: a client that leaves costs as many further ones

logger = logging.getLogger(__name__)


class Loop:
    """The images between two steps, and what is under way on the device. One thread calls it."""

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        queue: BoundedQueue[Job],
        observer: Observer,
        *,
        limits: Limits,
        costs: StepCosts,
        scheduler: Scheduler,
        load: OfferedLoad,
        clock: Callable[[], float],
        timeline: Timeline,
    ) -> None:
        self.running: list[ImageState] = []  # in order of admission; replaced, never changed in place
        self.most = limits.batch  # images in one step; less after a device ran out of memory
        self._bundle = bundle
        self._backend = backend
        self._inputs = bundle.architecture.prompt_inputs()
        self._queue = queue
        self._observer = observer
        self._limits = limits
        self._costs = costs
        self._scheduler = scheduler
        self._load = load
        self._clock = clock
        self._timeline = timeline
        self._deadlines = Deadlines()
        self._air: deque[Flight] = deque()
        self._decoding: deque[Decoding] = deque()
        self._last: Mark | None = None  # where the step before ended, if there were steps to take ever since

    @property
    def busy(self) -> bool:
        """Whether anything is left to do besides waiting for requests."""
        return bool(self.running or self._air or self._decoding)

    @property
    def jobs(self) -> list[Job]:
        """Everyone inside, waiting, between two steps or on the device."""
        flying = chain.from_iterable(flight.moves for flight in self._air)
        finishing = chain.from_iterable(decoding.moves for decoding in self._decoding)
        images = chain(self.running, (move.image for move in chain(flying, finishing)))
        return list(dict.fromkeys((*self._queue.waiting(), *(image.job for image in images))))

    def adopt(self) -> None:
        """The calling thread is the one that calls from now on."""
        self._timeline.adopt()

    def turn(self) -> None:
        """Who left, who comes in, which images go together, one step of them, and what has become of those before."""
        if not self.running and not self._air:
            self._last = None
        self._drop_expired()
        self._drop_hopeless()
        self._drop_gone()
        self._admit()
        launched = self._launch(self._choose())
        self._land(launched)
        self._deliver()
        self._drop_gone()
        self.report_load()

    def expect(self, job: Job) -> None:
        """A request that has been queued, by any thread: it will be dropped when its time is over."""
        self._deadlines.add(job.due)

    def report_load(self) -> None:
        """To the observer."""
        self._observer.load(waiting=len(self._queue), running=len(self.running))

    def fail_everything(self, error: EngineError) -> None:
        """Answer everyone inside with it."""
        for job in self.jobs:
            job.fail(error)
        self.running = []
        self._air.clear()
        self._decoding.clear()

    def _drop_expired(self) -> None:
        now = self._clock()
        if not self._deadlines.passed(now):
            return
        for job in self.jobs:
            if job.due <= now:
                limit, seconds = f"{job.request.timeout:g} seconds", f"{now - job.arrived:.3g} seconds"
                job.fail(Expired("the request was not done in time", expected=limit, found=seconds))
        self._deadlines.renew(job.due for job in self.jobs if not job.gone)

    def _drop_hopeless(self) -> None:
        """Who could not be done in time any more even by itself: further steps would be wasted. Who really is by itself
        is given up only if there was never a time when it could, as it was let in.
        """
        if not self._costs.known:
            return
        now = self._clock()
        sole = not self._queue and len({image.job for image in self.running}) == 1
        for image in self.running:
            if image.due == inf:
                continue
            of_late = self._costs.remaining(image.keys, image.step) + self._costs.ending
            left = self._costs.at_best(image.keys, image.step) if sole else of_late
            if now + left > image.due and not image.job.gone:
                limit = f"{image.job.request.timeout:g} seconds"
                found = f"{now - image.job.arrived:.3g} seconds, and {left:.3g} seconds of work left"
                image.job.fail(Expired("the request can no longer be done in time", expected=limit, found=found))

    def _drop_gone(self) -> None:
        self.running = [image for image in self.running if not image.done and not image.job.gone]

    def _admit(self) -> None:
        """Take requests in while there is room; one that is larger than the room waits for an empty engine."""
        while job := self._queue.take(self._fits):
            job.admitted = self._clock()
            self._observer.admitted(job.admitted - job.arrived)
            try:
                condition(self._backend, job, self._inputs, self._timeline)
                self._observer.conditioned(self._clock() - job.admitted)
                self.running = [*self.running, *start(job, self._timeline)]
            except Exception as error:  # noqa: BLE001 - whatever a runtime raises, this request alone ends
                self._fail([job], "the condition failed", error, "condition")

    def _fits(self, job: Job) -> bool:
        images = len(self.running) + job.request.images
        held = sum(other.path.conditions for other in {image.job for image in self.running})
        room = images <= self._limits.running and held + job.path.conditions <= self._limits.conditions
        return room or not self.running

    def _choose(self) -> list[ImageState]:
        now = self._clock()
        situation = Situation(now, self._queue.total, self._load.share(now))
        batch = self._scheduler.choose(self.running, situation)[: self.most]
        going = set(map(id, batch))
        for image in self.running:
            image.passed_over = 0 if id(image) in going else image.passed_over + 1
        return batch

    def _launch(self, batch: Sequence[ImageState]) -> bool:
        """Whether a step was launched. A batch that memory does not suffice for goes in parts."""
        if not batch:
            return False
        try:
            self._air.append(launch(self._backend, batch, self._timeline))
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises, this batch alone ends
            if is_out_of_memory(error) and len(batch) > 1:
                self._shrink(len(batch) // 2, error)
            else:
                stages = {image.job: image.stage for image in batch}
                self._fail_stages(stages, batch[0].key.subgraph, error)
            return False
        return True

    def _shrink(self, most: int, error: Exception) -> None:
        logger.warning("out of memory with %d images in a step: at most %d from now on (%s)", self.most, most, error)
        self.most = most
        self._timeline.free()
        self._observer.shrunk(most)

    def _land(self, launched: bool) -> None:
        """See to the steps that are done. If nothing was launched, or too much has not landed, wait for the first."""
        wait = not launched
        while self._air and (wait or len(self._air) > _AHEAD or self._air[0].landed.passed):
            wait = False
            flight = self._air.popleft()
            try:
                flight.landed.wait()
            except Exception as error:  # noqa: BLE001 - whatever a device reports, this batch alone ends
                stages = {move.image.job: move.stage for move in flight.moves}
                self._fail_stages(stages, flight.key.subgraph, error)
            else:
                self._landed(flight)

    def _landed(self, flight: Flight) -> None:
        sound = self._checked(flight)
        self._account(flight)
        for move in sound:
            if not move.image.job.gone:
                move.image.job.tell(Progress(move.image.index, move.step, len(move.image.keys), move.stage.stage))
        self._decode([move for move in sound if move.last or move.preview is not None])

    def _checked(self, flight: Flight) -> list[Move]:
        """The moves whose output was finite; the requests of the others fail."""
        sound = flight.finite.all(1).tolist()
        for move in (move for move, good in zip(flight.moves, sound, strict=True) if not good):
            where = f"stage {move.stage.stage} failed on subgraph {flight.key.subgraph}"
            error = EngineError(where, reason="not_finite", expected="finite values", found="NaN or infinity")
            move.image.job.fail(error)
        return [move for move, good in zip(flight.moves, sound, strict=True) if good]

    def _account(self, flight: Flight) -> None:
        """Who took part, and what it cost."""
        key, images = flight.key, len(flight.moves)
        seconds, began = flight.ended.since(flight.began), self._clock()
        began -= flight.landed.since(flight.began)
        for job in {move.image.job for move in flight.moves}:
            job.note({move.stage.stage for move in flight.moves if move.image.job is job}, began, seconds, images)
        stages = Counter(move.stage for move in flight.moves)
        gap = None if self._last is None else flight.began.since(self._last)
        self._costs.observe(key.kind, key.rows(images), seconds, gap)
        self._last = flight.ended
        report = StepReport(
            key.subgraph, tuple(stages), images, key.rows(images), seconds, tuple(stages.values()), gap_seconds=gap
        )
        self._observer.stepped(report)

    def _decode(self, moves: Sequence[Move]) -> None:
        wanted = [move for move in moves if not move.image.job.gone]
        if not wanted:
            return
        try:
            self._decoding.append(decode(self._backend, wanted, self._timeline, self._clock()))
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises, these requests alone end
            self._fail({move.image.job for move in wanted}, "the decoder failed", error, "decode")

    def _deliver(self) -> None:
        """Hand out what is decoded. If there is nothing else to do, wait for the first."""
        wait = not self.running and not self._air
        while self._decoding and (wait or self._decoding[0].done.passed):
            decoding = self._decoding.popleft()
            try:
                decoding.done.wait()
            except Exception as error:  # noqa: BLE001 - whatever a device reports, these requests alone end
                self._fail({move.image.job for move in decoding.moves}, "the decoder failed", error, "decode")
                continue
            self._observer.decoded(len(decoding.moves), decoding.done.since(decoding.began))
            self._costs.observe_ending(self._clock() - decoding.at)
            for move, pixels in zip(decoding.moves, decoding.pixels, strict=True):
                self._hand_out(move, pixels)

    def _hand_out(self, move: Move, pixels: Tensor) -> None:
        job, preview = move.image.job, move.preview
        if move.last:
            job.decoded[move.image.index] = pixels
            job.finish_if_complete(self._clock())
        elif preview is not None and not job.gone:
            job.tell(Preview(move.image.index, preview, pixels))

    def _fail_stages(self, stages: dict[Job, StageOf], subgraph: str, error: Exception) -> None:
        for job, stage in stages.items():
            job.fail(failure(f"stage {stage.stage} failed on subgraph {subgraph}", error, "step"))
        self._require_device()

    def _fail(self, jobs: Iterable[Job], what: str, error: Exception, reason: FailureReason) -> None:
        for job in jobs:
            job.fail(failure(what, error, reason))
        self._require_device()

    def _require_device(self) -> None:
        """After a failure: a device that will never work again ends the engine, for another process to try."""
        try:
            self._timeline.require_alive()
        except RuntimeError as error:
            raise EngineError("the device is lost", expected="a device that works", found=error) from error
