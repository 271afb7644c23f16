"""Driving an engine by hand, and what a test wants to know of it."""

from concurrent.futures import Future

import pytest
from torch import Tensor

from diffes.engine.engine import Engine
from diffes.engine.observer import Ending, Outcome, Silent, StepReport
from diffes.engine.request import Request, Result
from tests.prompting import of_label

TOLERANCE = 1e-4  # a GEMM's rows may differ in rounding between batch sizes

MIXED = (
    Request(prompt=of_label(0), seed=1),
    Request(prompt=of_label(3), seed=2, steps=7, guidance=4.0),
    Request(prompt=of_label(9), seed=3, steps=3, guidance=1.0, images=2),
    Request(prompt=of_label(5), seed=4, schedule="half", steps=5),
    Request(prompt=of_label(5), seed=5, images=3, guidance=2.0),
)


def run(engine: Engine, *requests: Request) -> list[Tensor]:
    futures = [engine.submit(request) for request in requests]
    drain(engine, *futures)
    return [future.result().images for future in futures]


def drain(engine: Engine, *futures: Future[Result]) -> None:
    for _ in range(1000):
        if all(future.done() for future in futures):
            return
        engine.step()
    pytest.fail("the engine did not finish in 1000 steps")


class Recorder(Silent):
    def __init__(self) -> None:
        self.loads: list[tuple[int, int]] = []
        self.steps: list[StepReport] = []
        self.endings: list[Ending] = []
        self.waits = 0
        self.conditions = 0
        self.limits: list[int] = []
        self.decoded_images: list[int] = []

    def load(self, *, waiting: int, running: int) -> None:
        self.loads.append((waiting, running))

    def admitted(self, queue_seconds: float) -> None:
        assert queue_seconds >= 0
        self.waits += 1

    def conditioned(self, seconds: float) -> None:
        assert seconds >= 0
        self.conditions += 1

    def decoded(self, images: int, seconds: float) -> None:
        assert seconds >= 0
        self.decoded_images.append(images)

    def stepped(self, step: StepReport) -> None:
        self.steps.append(step)

    def shrunk(self, most: int) -> None:
        self.limits.append(most)

    def finished(self, ending: Ending) -> None:
        assert ending.timings.total_seconds >= ending.timings.queue_seconds >= 0
        self.endings.append(ending)

    @property
    def outcomes(self) -> list[tuple[str, Outcome]]:
        return [(ending.request.schedule, ending.outcome) for ending in self.endings]
