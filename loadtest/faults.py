"""What goes wrong during a test, on purpose: a worker killed or stopped, a full disk, a Triton server out of reach.

Times are seconds since the run began. A fault that lasts is over `lasting` seconds later, or when the run is.
"""

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import psutil
from pydantic import BaseModel, ConfigDict, Field

from diffes.errors import LoadTestError
from loadtest.disk import empty, fill
from loadtest.target import Target

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Undo = Callable[[], object]
_WORKER = "_bentoml_impl.worker.service"


class Fault(BaseModel):
    """One of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["kill-worker", "pause-worker", "fill-disk", "cut-triton"]
    at: Seconds
    lasting: Seconds = 0.0  # a killed worker comes back by itself

    def begin(self, target: Target) -> tuple[str, Undo]:
        """Do it; what was done, and what ends it. LoadTestError if it cannot be done to this target."""
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

    def at(self, now: float) -> None:
        """Begin what is due and end what is over, `now` seconds after the run began."""
        while self._due and self._due[0].at <= now:
            fault = self._due.pop(0)
            told, undo = fault.begin(self.target)
            self._going.append((fault, now, told, undo))
        for going in [each for each in self._going if each[1] + each[0].lasting <= now]:
            self._end(*going, now)

    def end(self, now: float) -> None:
        """End what still goes on."""
        for going in list(self._going):
            self._end(*going, now)

    def save(self, path: Path) -> None:
        """A line of JSON for each that was."""
        path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in self.happened), encoding="utf-8")

    def _end(self, fault: Fault, began: float, told: str, undo: Undo, now: float) -> None:
        undo()
        self._going.remove((fault, began, told, undo))
        self.happened.append(Happened(fault.kind, began, max(began, now) if fault.lasting else began, told))


def load_happened(path: Path) -> list[Happened]:
    """What `Faults.save` wrote; nothing if there were none."""
    if not path.exists():
        return []
    return [Happened(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _kill(target: Target) -> tuple[str, Undo]:
    worker = _worker(target)
    worker.kill()
    return f"killed worker {worker.pid}", _nothing


def _pause(target: Target) -> tuple[str, Undo]:
    worker = _worker(target)
    worker.suspend()
    return f"stopped worker {worker.pid} ({signal.Signals.SIGSTOP.name})", worker.resume


def _fill(target: Target) -> tuple[str, Undo]:
    if (disk := target.disk) is None:
        raise _impossible("fill-disk", "a small disk")
    fill(disk)
    return "filled the disk that the service writes to", lambda: empty(disk)


def _cut(target: Target) -> tuple[str, Undo]:
    if (relay := target.relay) is None:
        raise _impossible("cut-triton", "a service on a Triton server (--backend triton)")
    relay.cut()
    return "cut the way to the Triton server", relay.mend


_BEGIN = {"kill-worker": _kill, "pause-worker": _pause, "fill-disk": _fill, "cut-triton": _cut}


def _worker(target: Target) -> psutil.Process:
    """The oldest worker of the service."""
    found = [] if target.service is None else [each for each in target.service.processes() if _serves(each)]
    if not found:
        raise _impossible("a fault of a worker", "a service that was started for the test (--bundle) and has one")
    return min(found, key=lambda process: process.create_time())


def _serves(process: psutil.Process) -> bool:
    try:
        return any(_WORKER in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _nothing() -> None:
    """A killed worker comes back by itself."""


def _impossible(fault: str, expected: str) -> LoadTestError:
    return LoadTestError(f"{fault} cannot be made", expected=expected, found="none")
