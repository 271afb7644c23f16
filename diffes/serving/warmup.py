"""Run everything before the first request, so that none pays for allocation, tuning or lazy loading; and time it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from time import perf_counter

import torch
from torch import Tensor

from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.engine.costs import StepCosts
from diffes.engine.engine import Engine
from diffes.engine.path import kind_of
from diffes.engine.request import Limits, Request
from diffes.engine.timeline import timeline_of
from diffes.rollout import conditions_of

_TIMED = 3  # calls of a step, after one that is not; the fastest counts, for others were disturbed

Steps = dict[tuple[str, int], Callable[[], Tensor]]  # by kind and rows

logger = logging.getLogger(__name__)


def warm_up(bundle: Bundle, backend: Backend, batch: int, clock: Callable[[], float] = perf_counter) -> StepCosts:
    """Every graph at each row count of `warm_rows`, then what the engine does around them; what steps cost there."""
    began = clock()
    steps: Steps = {}
    generator = torch.Generator().manual_seed(0)
    prompt = bundle.wording.example(0).rows(bundle.architecture.prompt_inputs())
    one = backend.encode(prompt.to(backend.device).wanted)
    for rows in sorted(_conditioned(bundle)):
        backend.condition(torch.zeros(rows), one.repeated(rows).features)
    for rows, size in product(warm_rows(batch, backend.buckets), bundle.sizes):
        latents = torch.randn(rows, *bundle.latents_of(size), generator=generator)
        conditions = conditions_of(backend, one.repeated(rows), float(bundle.trajectory(1).timesteps[0]))
        for subgraph in bundle.manifest.subgraphs:
            step = partial(backend.denoise, subgraph.id, latents.to(backend.device), conditions)
            steps[kind_of(bundle, subgraph.id, size), rows] = step
            _took(step, clock)
        backend.decode(latents)
        logger.info("warm at %d rows of %s after %.1f s", rows, size, clock() - began)
    seconds = _fastest(steps, clock)
    _rehearse(bundle, backend, batch)
    return StepCosts(seconds, backend.buckets)


def _rehearse(bundle: Bundle, backend: Backend, batch: int) -> None:
    """Requests of one step through an engine of their own. What it does between two calls of a backend is compiled and
    loaded, too: on an H200 the first step of several images stopped all for half a second.
    """
    timeline = timeline_of(backend.device, perf_counter)
    timeline.adopt()
    limits = Limits(batch=batch, running=batch, images=batch)
    engine = Engine(bundle, backend, limits, timeline=timeline)  # to which company costs nothing: they go together
    for images in sorted({*_powers(batch), batch}):
        for guidance in (1.0, 2.0):
            request = Request(prompt=bundle.wording.example(0), seed=0, images=images, steps=1, guidance=guidance)
            done = engine.submit(request)
            while not done.done():
                engine.step()
            if (error := done.exception()) is not None:  # not necessarily one that other requests will meet
                logger.warning("warm-up with %d images failed: %s", images, error)


def warm_rows(batch: int, buckets: Sequence[int] = ()) -> Sequence[int]:
    """Row counts from one plain image to a full guided batch: powers of two and the last, or a backend's buckets
    up to the first that holds it.
    """
    most = 2 * batch
    if not buckets:
        return sorted({*_powers(most), batch, most})
    return [rows for rows, below in zip(buckets, (0, *buckets), strict=False) if below < most]


def _conditioned(bundle: Bundle) -> set[int]:
    """Rows of the conditions of requests that ask for a schedule's own steps, guided or not."""
    steps = {schedule.sampler.steps for schedule in bundle.manifest.schedules.values()}
    return {branches * count for count in steps for branches in (1, 2)}


def _powers(most: int) -> Iterator[int]:
    rows = 1
    while rows <= most:
        yield rows
        rows *= 2


def _fastest(steps: Steps, clock: Callable[[], float]) -> dict[str, dict[int, float]]:
    """Seconds by kind and rows. All steps in turns: a machine that is slow for a while is so for all of them, and
    what many rows cost beside few, which every choice depends on, stays true.
    """
    times = [{key: _took(step, clock) for key, step in steps.items()} for _ in range(_TIMED)]
    seconds: dict[str, dict[int, float]] = {}
    for subgraph, rows in steps:
        seconds.setdefault(subgraph, {})[rows] = min(each[subgraph, rows] for each in times)
    return seconds


def _took(step: Callable[[], Tensor], clock: Callable[[], float]) -> float:
    """Seconds of a step until its output is there."""
    before = clock()
    step().isfinite().all().item()  # waits for the device
    return clock() - before
