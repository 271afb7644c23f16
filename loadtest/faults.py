"""What goes wrong during a test, on purpose: a process killed or stopped, a full disk, a Triton server out of reach.

Times are seconds since the run began. A fault that lasts is over `lasting` seconds later, or when the run is.
"""

import json
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import psutil
from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffes.errors import LoadTestError
from loadtest.disk import empty, fill
from loadtest.relay import Relay
from loadtest.target import Target

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Undo = Callable[[], object]
_PROCESSES = {"worker": "_bentoml_impl.worker.service", "engine": "diffes.serving.engine_process"}  # what they run
_KILLS = ("kill-worker", "kill-engine")


class Fault(BaseModel):
    """One of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["kill-worker", "kill-engine", "pause-worker", "pause-engine", "fill-disk", "cut-triton"]
    at: Seconds
    lasting: Seconds = 0.0

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if (self.kind in _KILLS) == bool(self.lasting):
            raise ValueError("how long it is `lasting`, unless what is killed comes back by itself")
        return self

    def require_possible(self, target: Target) -> None:
        """LoadTestError if it cannot be done to this target."""
        _NEEDS[self.kind](target)

    def begin(self, target: Target) -> tuple[str, Undo]:
        """Do it; what was done, and what ends it. LoadTestError if it cannot be done to this target now."""
        return _BEGIN[self.kind](target)


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault that was: seconds since the run began, and in words."""

    kind: str
    began: float
    ended: float
    told: str


@dataclass
class Faults:
    """The faults of one run, begun and ended as time goes by."""

    faults: Sequence[Fault]
    target: Target
    happened: list[Happened] = field(default_factory=list)
    _due: list[Fault] = field(init=False)
    _going: list[tuple[Fault, float, str, Undo]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._due = sorted(self.faults, key=lambda fault: fault.at)

    def require_possible(self) -> None:
        """LoadTestError for the first that cannot be done to the target: better said before it is loaded."""
        for fault in self._due:
            fault.require_possible(self.target)

    def at(self, now: float) -> None:
        """Begin what is due and end what is over, `now` seconds after the run began."""
        while self._due and self._due[0].at <= now:
            fault = self._due.pop(0)
            told, undo = fault.begin(self.target)
            self._going.append((fault, now, told, undo))
        for going in [each for each in self._going if each[1] + each[0].lasting <= now]:
            self._end(*going, now)

    def end(self, now: float) -> None:
        """End what still goes on, all of it whatever one of them says."""
        with ExitStack() as stack:
            for going in self._going:
                stack.callback(self._end, *going, now)

    def save(self, path: Path) -> None:
        """A line of JSON for each that was."""
        path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in self.happened), encoding="utf-8")

    def _end(self, fault: Fault, began: float, told: str, undo: Undo, now: float) -> None:
        self._going.remove((fault, began, told, undo))
        undo()
        self.happened.append(Happened(fault.kind, began, max(began, now) if fault.lasting else began, told))


def load_happened(path: Path) -> list[Happened]:
    """What `Faults.save` wrote; nothing if there were none."""
    if not path.exists():
        return []
    return [Happened(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _kill(what: str, target: Target) -> tuple[str, Undo]:
    process = _oldest(what, target)
    process.kill()
    return f"killed {what} {process.pid}", _nothing


def _pause(what: str, target: Target) -> tuple[str, Undo]:
    process = _oldest(what, target)
    process.suspend()
    return f"stopped {what} {process.pid} ({signal.Signals.SIGSTOP.name})", partial(_resume, process)


def _fill(target: Target) -> tuple[str, Undo]:
    disk = _disk(target)
    fill(disk)
    return "filled the disk that the service writes to", lambda: empty(disk)


def _cut(target: Target) -> tuple[str, Undo]:
    relay = _relay(target)
    relay.cut()
    return "cut the way to the Triton server", relay.mend


def _resume(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):  # whoever missed it has ended it
        process.resume()


def _oldest(what: str, target: Target) -> psutil.Process:
    """Of the service's workers, or engines."""
    running = [] if target.service is None else target.service.processes()
    found = [process for process in running if _runs(process, _PROCESSES[what])]
    if not found:
        raise _impossible(f"a fault of the {what}", "a service that was started for the test (--bundle)")
    return min(found, key=lambda process: process.create_time())


def _disk(target: Target) -> Path:
    if target.disk is None:
        raise _impossible("fill-disk", "a service that was started on a small disk for it (--bundle)")
    return target.disk


def _relay(target: Target) -> Relay:
    if target.relay is None:
        expected = "a service that was started for the test on a Triton server (--bundle, --backend triton)"
        raise _impossible("cut-triton", expected)
    return target.relay


_BEGIN: dict[str, Callable[[Target], tuple[str, Undo]]] = {
    "kill-worker": partial(_kill, "worker"),
    "kill-engine": partial(_kill, "engine"),
    "pause-worker": partial(_pause, "worker"),
    "pause-engine": partial(_pause, "engine"),
    "fill-disk": _fill,
    "cut-triton": _cut,
}
_NEEDS: dict[str, Callable[[Target], object]] = {
    "kill-worker": partial(_oldest, "worker"),
    "kill-engine": partial(_oldest, "engine"),
    "pause-worker": partial(_oldest, "worker"),
    "pause-engine": partial(_oldest, "engine"),
    "fill-disk": _disk,
    "cut-triton": _relay,
}


def _runs(process: psutil.Process, module: str) -> bool:
    try:
        return module in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def _nothing() -> None:
    """What is killed comes back by itself."""


def _impossible(fault: str, expected: str) -> LoadTestError:
    return LoadTestError(f"{fault} cannot be made", expected=expected, found="none")
