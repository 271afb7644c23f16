"""Every error Diffes raises on purpose.

DiffesError
├── InvalidInput      one field of a request or option; HTTP answers 422
├── Overloaded        the engine takes no more work now; HTTP answers 429
├── Expired           a request's own time limit cannot be kept; HTTP answers 504
├── Cancelled         a request withdrawn before its end; HTTP answers 410
├── NotReady          the service is still warming up; HTTP answers 503
├── ScheduleError     a schedule that is malformed, or made for something else
├── CheckpointError   a model folder that cannot be opened
├── BundleError       a bundle that is damaged, incomplete or from another time
├── BackendError      a runtime that cannot do what was asked
│   └── OutOfMemory   a runtime that has no room for a call's tensors
├── EngineError       the engine failed while a request was in it
│   └── Closed        the engine was closed before a request was done; HTTP answers 503
│       └── Lost      its process ended before that
├── LatencyError      a latency table that is malformed, or measured of something else
├── LoadTestError     a load test that cannot start, or whose service does not
├── QualityError      a measure asked of things it cannot compare
└── SearchError       a search that cannot start or go on
"""

from typing import Literal

FailureReason = Literal["condition", "step", "not_finite", "out_of_memory", "decode", "stopped"]


class DiffesError(Exception):
    """Says what is wrong, what was expected, what was found, and what to do about it."""

    def __init__(self, what: str, *, expected: object = None, found: object = None, remedy: str = "") -> None:
        self.what = what
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__(self._sentence())

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled, as it comes from another process, it is the same error: nothing is composed again."""
        return _bare, (type(self), *self.args), self.__dict__

    def _sentence(self) -> str:
        parts = [self.what]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        head = parts[0] + (": " + ", ".join(parts[1:]) if parts[1:] else "")
        return head + (f". {self.remedy}" if self.remedy else "")


def _bare(kind: type[DiffesError], *args: object) -> DiffesError:
    return kind.__new__(kind, *args)


class InvalidInput(DiffesError):
    """One named field holds a value that cannot be served."""

    def __init__(self, field: str, *, expected: object, found: object, remedy: str = "") -> None:
        self.field = field
        super().__init__(f"invalid {field}", expected=expected, found=found, remedy=remedy)


class Overloaded(DiffesError):
    """There is no room for one more request; the caller may come back later. `reason` is a word for metrics.

    `retry_after` is in how many seconds there will be, by the forecast of who refused.
    """

    def __init__(self, what: str, *, reason: str, expected: object, found: object, retry_after: float = 1.0) -> None:
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(what, expected=expected, found=found, remedy="Try again later.")


class Cancelled(DiffesError):
    """A request was taken back before it was done."""


class Expired(DiffesError):
    """A request was not done when its caller's time was over."""


class NotReady(DiffesError):
    """The service is warming up, or failed to start."""


class ScheduleError(DiffesError):
    """A schedule is malformed, or belongs to another model or sampler."""


class CheckpointError(DiffesError):
    """A model folder is missing something, is unsafe to read, or is of an unknown family."""


class BundleError(DiffesError):
    """A bundle is damaged, incomplete, or of a format this version does not read."""


class BackendError(DiffesError):
    """A backend or device is missing, or a subgraph cannot run on it."""


class OutOfMemory(BackendError):
    """A call needs more memory than there is; a smaller one may do."""


class EngineError(DiffesError):
    """A request was in the engine when it failed. `reason` is a word for metrics: where it failed."""

    def __init__(
        self,
        what: str,
        *,
        reason: FailureReason = "stopped",
        expected: object = None,
        found: object = None,
        remedy: str = "",
    ) -> None:
        self.reason = reason
        super().__init__(what, expected=expected, found=found, remedy=remedy)


class Closed(EngineError):
    """A request was not done when the engine was closed, or came later: nothing is wrong with it."""


class Lost(Closed):
    """A request was inside when its engine's process ended, which could tell of it no more."""


class LatencyError(DiffesError):
    """A latency table is malformed, or was measured of another model or on another device."""


class LoadTestError(DiffesError):
    """A load test cannot be made: a scenario that is malformed, or a service that cannot be started or reached."""


class QualityError(DiffesError):
    """A quality measure was asked to compare what it cannot compare."""


class SearchError(DiffesError):
    """A search cannot start, or cannot go on from its checkpoint."""
