"""When a device has done what it was given. A CPU has when a call returns; a GPU is told of it and goes on by itself.

Whoever waits for a GPU after every call leaves it without work while the next call is prepared. So marks are set
between calls, and looked at later.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor


class Mark(Protocol):
    """A point in a device's work."""

    @property
    def passed(self) -> bool:
        """Whether everything before it is done."""

    def wait(self) -> None:
        """Until it has passed; raises what went wrong on the device."""

    def since(self, earlier: Self) -> float:
        """Seconds of the device's time; both have passed."""


class Timeline(Protocol):
    """One device, as the thread that gives it work sees it."""

    def adopt(self) -> None:
        """The calling thread is that thread."""

    def mark(self) -> Mark:
        """After everything given so far."""

    def aside(self) -> AbstractContextManager[object]:
        """What is given inside needs nothing that is still to be done, and goes on beside what is given outside."""

    def to_device(self, tensor: Tensor) -> Tensor:
        """A CPU tensor there, without waiting."""

    def to_host(self, tensor: Tensor) -> Tensor:
        """On the CPU, whole once a mark set afterwards has passed."""

    def free(self) -> None:
        """Give memory back that nothing is in, after a device ran out of it."""

    def require_alive(self) -> None:
        """RuntimeError if the device will do nothing any more, as after an illegal access."""


@dataclass(frozen=True, slots=True)
class HostMark:
    """Passed when it is set."""

    at: float
    passed: bool = True

    def wait(self) -> None:
        """Not at all."""

    def since(self, earlier: "HostMark") -> float:
        """By the clock."""
        return self.at - earlier.at


class HostTimeline:
    """A CPU, or a server behind a connection: calls return when they are done."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def adopt(self) -> None:
        """Nothing to do."""

    def mark(self) -> HostMark:
        """Now."""
        return HostMark(self._clock())

    def aside(self) -> AbstractContextManager[object]:
        """There is no other place."""
        return nullcontext()

    def to_device(self, tensor: Tensor) -> Tensor:
        """The tensor."""
        return tensor

    def to_host(self, tensor: Tensor) -> Tensor:
        """The tensor."""
        return tensor

    def free(self) -> None:
        """The system has it."""

    def require_alive(self) -> None:
        """It is: this runs on it."""


class CudaMark:
    """An event on the current stream."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._event = torch.cuda.Event(enable_timing=True, blocking=True)
        stream.record_event(self._event)

    @property
    def passed(self) -> bool:
        """Whether there is nothing to wait for: waiting tells what went wrong."""
        try:
            return bool(self._event.query())
        except RuntimeError:
            return True

    def wait(self) -> None:
        """Asleep, so that other threads have the processor."""
        self._event.synchronize()

    def since(self, earlier: "CudaMark") -> float:
        """By the GPU's clock."""
        return float(earlier._event.elapsed_time(self._event)) / 1e3


class CudaTimeline:
    """A GPU: steps on the current stream, what goes aside on one of its own."""

    def __init__(self, device: torch.device) -> None:
        self._aside = torch.cuda.Stream(device)
        self._device = self._aside.device  # with its number, which "cuda" alone leaves to whoever asks

    def adopt(self) -> None:
        """What the thread starts without naming a device goes here."""
        torch.cuda.set_device(self._device)

    def mark(self) -> CudaMark:
        """On the stream that is current, aside or not."""
        return CudaMark(torch.cuda.current_stream(self._device))

    def aside(self) -> AbstractContextManager[object]:
        """Memory that both use must be held until a mark has passed."""
        return torch.cuda.stream(self._aside)

    def to_device(self, tensor: Tensor) -> Tensor:
        """From pinned memory: a copy from any other would wait for the stream."""
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def to_host(self, tensor: Tensor) -> Tensor:
        """Into pinned memory."""
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def free(self) -> None:
        """Of torch's allocator."""
        torch.cuda.empty_cache()

    def require_alive(self) -> None:
        """A GPU that has lost its context fails at everything."""
        torch.cuda.synchronize(self._device)


def timeline_of(device: torch.device, clock: Callable[[], float]) -> Timeline:
    """Of the device that a backend's outputs are on; `clock` tells a CPU's seconds."""
    return CudaTimeline(device) if device.type == "cuda" else HostTimeline(clock)
