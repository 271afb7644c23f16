"""What is felt of a process."""

from mmap import mmap

from diffes.serving.vitals import Pulse, Vitals
from tests.serving.waiting import wait_for


def test_vitals_are_felt_from_the_start_now_and_then_and_once_more_at_the_end() -> None:
    felt: list[Vitals] = []
    ready = iter([False, True])
    pulse = Pulse(lambda: next(ready, False), lambda: 1.5, felt.append)
    pulse.start()
    assert [vitals.ready for vitals in felt] == [False]
    wait_for(lambda: len(felt) == 2)
    pulse.stop()
    assert [vitals.ready for vitals in felt] == [False, True, False]
    assert {vitals.backlog_seconds for vitals in felt} == {1.5}


def test_resident_bytes_are_this_process_s() -> None:
    felt: list[Vitals] = []
    pulse = Pulse(lambda: True, lambda: 0.0, felt.append)
    pulse.feel()
    with mmap(-1, 100_000_000) as ballast:  # fresh pages: the heap may have room that counts already
        ballast.write(b"1" * len(ballast))
        pulse.feel()
    assert felt[1].resident_bytes - felt[0].resident_bytes > 50_000_000
    assert felt[1].allocated_bytes == felt[1].reserved_bytes == 0
