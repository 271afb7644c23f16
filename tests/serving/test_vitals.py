"""What is felt of a process."""

from mmap import mmap

from diffes.serving.vitals import Pulse, device_bytes, resident_bytes
from tests.serving.waiting import wait_for


def test_it_is_felt_from_the_start_now_and_then_and_once_more_at_the_end() -> None:
    felt: list[int] = []
    pulse = Pulse(lambda: felt.append(len(felt)))
    pulse.start()
    assert felt == [0]
    wait_for(lambda: len(felt) == 2)
    pulse.stop()
    assert felt == [0, 1, 2]


def test_resident_bytes_are_this_process_s() -> None:
    before = resident_bytes()
    with mmap(-1, 100_000_000) as ballast:  # fresh pages: the heap may have room that counts already
        ballast.write(b"1" * len(ballast))
        assert resident_bytes() - before > 50_000_000


def test_a_process_that_uses_no_gpu_has_no_memory_there() -> None:
    assert device_bytes() == (0, 0)
