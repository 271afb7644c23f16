"""Endings as an engine tells them."""

from diffes.engine.observer import Ending, Outcome
from diffes.engine.request import Origin, ResolvedRequest, StageTiming, Timings
from diffes.sizes import Size
from tests.prompting import of_label

STAGES = (
    StageTiming(stage=0, subgraph="step0", steps=2, seconds=0.2, mean_batch=1.0, began=0.5, ended=0.8),
    StageTiming(stage=1, subgraph="step1", steps=2, seconds=0.2, mean_batch=2.0, began=1.0, ended=1.3),
)


def ending(outcome: Outcome = "done", reason: str = "", **origin: object) -> Ending:
    """A request of 2 s: half a second in the queue, two stages from 0.5 and 1.0 s, decoded from 1.3 s on."""
    request = ResolvedRequest(
        prompt=of_label(8),
        seed=2**32 - 1,
        images=1,
        steps=4,
        guidance=1.5,
        schedule="mixed",
        size=Size(8, 8),
        id="img-1",
        origin=Origin(**origin),  # type: ignore[arg-type]
    )
    return Ending(request, outcome, Timings(0.5, 2.0, STAGES), 4, reason)
