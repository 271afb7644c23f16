"""Marks tell when a device has done what it was given, and how long it took."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from diffes.engine.timeline import CudaTimeline, HostTimeline, timeline_of


def test_on_a_cpu_everything_is_done_when_it_returns() -> None:
    seconds = iter((1.0, 3.5))
    timeline = HostTimeline(lambda: next(seconds))
    first, second = timeline.mark(), timeline.mark()
    assert first.passed
    assert second.since(first) == 2.5


def test_a_cpu_copies_nothing() -> None:
    timeline, tensor = timeline_of(torch.device("cpu"), time.perf_counter), torch.ones(2)
    assert timeline.to_device(tensor) is timeline.to_host(tensor) is tensor


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_passes_a_mark_when_it_is_done_with_what_came_before() -> None:
    timeline = CudaTimeline(torch.device("cuda"))
    timeline.to_host(timeline.to_device(torch.arange(3.0)) * 2)  # what runs for the first time waits for the device
    before = timeline.mark()
    torch.cuda._sleep(200_000_000)  # cycles, a tenth of a second
    behind = timeline.to_host(timeline.to_device(torch.arange(3.0)) * 2)
    after = timeline.mark()
    with timeline.aside():
        beside = timeline.mark()
    beside.wait()
    assert not after.passed
    after.wait()
    assert after.passed
    assert behind.tolist() == [0, 2, 4]
    assert 0.01 < after.since(before) < 10
    timeline.require_alive()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_named_without_its_number_is_adopted_by_a_thread() -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(CudaTimeline(torch.device("cuda")).adopt).result()
        assert thread.submit(torch.cuda.current_device).result() == torch.cuda.current_device()
