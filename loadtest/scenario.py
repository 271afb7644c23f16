"""A load test as a small file: when requests come, what they ask for, and what their callers may expect."""

import tomllib
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffes.documents import validated
from diffes.errors import LoadTestError
from loadtest.arrivals import Arrivals, Closed, Times
from loadtest.faults import Fault
from loadtest.mix import Mix, Share

SHIPPED = Path(__file__).with_name("scenarios")
_WHOLE = ("schedules", "steps", "images")  # weights
Unit = Literal["second", "alone"]  # `alone`: what one request takes that meets no other


class Slo(BaseModel):
    """What callers may expect: `share` of all requests, less those whose callers left, are answered `within` units.

    Latency counts from the time a request was due. At most shares of `failed` and `refused` may end so. The first
    answer comes within `first_answer` seconds of the start of a service's process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    within: Times
    share: Share = 0.99
    failed: Share = 0.0
    refused: Share = 1.0
    first_answer: Times | None = None

    def scaled(self, unit: float) -> Self:
        """In seconds, of which the unit has so many."""
        return self.model_copy(update={"within": self.within * unit})


class Search(BaseModel):
    """Looks for the highest rate that keeps to the SLO: from `first` in steps of `factor`, then by halves.

    Ends when what holds and what does not are less than `until` apart, as a ratio; then what holds has to hold again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: Times = 0.5  # requests per unit
    factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 1.6
    until: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 1.08
    most: Annotated[int, Field(ge=2)] = 20  # runs


class Scenario(BaseModel):
    """`seconds` are seconds; every other time and every rate is in `unit`s.

    A test lasts `seconds`, or until so many `requests` were due, whichever is first. Whoever has no answer `patience`
    seconds after it was sent is given up. A service that is started for the test gets the settings of `service`. The
    images of a test with few seeds (`mix.seeds`) are compared with what they have to be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    unit: Unit = "second"
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    requests: Annotated[int, Field(ge=1)] | None = None
    arrivals: Arrivals
    mix: Mix = Mix()
    slo: Slo
    search: Search | None = None
    faults: tuple[Fault, ...] = ()
    service: dict[str, str | int | float] = {}
    cold: bool = False  # requests come while the service starts
    patience: Times = 120.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.seconds is None and self.requests is None:
            raise ValueError("seconds, requests, or both")
        if isinstance(self.arrivals, Closed) and (self.seconds is None or self.search is not None):
            raise ValueError("seconds and no search, where arrivals are closed")
        if self.faults and (self.search is not None or self.cold):
            raise ValueError("no search and no cold start, where there are faults")
        if self.faults and self.unit == "second" and max(fault.at for fault in self.faults) >= self.duration:
            raise ValueError("faults that begin before the test ends")
        if self.cold and (self.search is not None or isinstance(self.arrivals, Closed)):
            raise ValueError("an open loop and no search, where cold")
        if self.slo.first_answer is not None and not self.cold:
            raise ValueError("cold = true where slo.first_answer is told")
        if self.cold and self.unit == "alone":
            raise ValueError('unit = "second" where cold: nothing can be measured before the service is there')
        return self

    def scaled(self, unit: float) -> Self:
        """The same in seconds, of which the unit has so many."""
        search = self.search and self.search.model_copy(update={"first": self.search.first / unit})
        changed = {name: getattr(self, name).scaled(unit) for name in ("arrivals", "mix", "slo")}
        return self.model_copy(update=changed | {"search": search, "unit": "second"})

    def paced(self, rate: float) -> Self:
        """The same with so many requests a second; only of a scenario in seconds, whose loop is open."""
        assert self.unit == "second"
        assert not isinstance(self.arrivals, Closed)
        return self.model_copy(update={"arrivals": self.arrivals.paced(rate)})

    @property
    def duration(self) -> float:
        """How many seconds requests come."""
        if self.requests is None or isinstance(self.arrivals, Closed):
            assert self.seconds is not None
            return self.seconds
        return min(self.requests / self.arrivals.mean, self.seconds or inf)


def load_scenario(name: str, settings: Sequence[str] = ()) -> Scenario:
    """A scenario that ships with the project, by its name, or a file's; `settings` are TOML lines that come before it.

    LoadTestError says what is wrong with the file, or which setting is.
    """
    path = Path(name) if name.endswith(".toml") or "/" in name else SHIPPED / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = f"a TOML file or one of {', '.join(shipped())}"
        raise LoadTestError(f"there is no scenario {name}", expected=known, found="no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LoadTestError(f"{path} cannot be read", expected="a TOML file", found=str(error)) from error
    for setting in settings:
        document = _merged(document, _parsed(setting))
    document = _with_trace(document, path.parent)
    remedy = "docs/loadtest.md tells what a scenario says."
    return validated(Scenario, document, f"scenario {path.stem}", LoadTestError, remedy=remedy)


def shipped() -> list[str]:
    """Names of the scenarios that ship with the project."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def _with_trace(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Times of a trace that are in a file of their own, a number a line, as the scenario's folder sees it."""
    arrivals = document.get("arrivals")
    if not isinstance(arrivals, dict) or not isinstance(file := arrivals.get("file"), str):
        return document
    try:
        at = [float(line) for line in (folder / file).read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as error:
        raise LoadTestError(f"{file} cannot be read", expected="seconds, a number a line", found=str(error)) from error
    return document | {"arrivals": {key: value for key, value in arrivals.items() if key != "file"} | {"at": at}}


def _parsed(setting: str) -> dict[str, Any]:
    try:
        return tomllib.loads(setting)
    except tomllib.TOMLDecodeError as error:
        expected = "a TOML line such as arrivals.rate=2 or mix.schedules={dense=1}; texts are quoted"
        raise LoadTestError(f"cannot set {setting}", expected=expected, found=str(error)) from error


def _merged(document: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` goes before the document, key by key; weights are one thing, and so is what names its kind."""
    merged = dict(document)
    for key, value in over.items():
        known = merged.get(key)
        if isinstance(known, dict) and isinstance(value, dict) and key not in _WHOLE and "kind" not in value:
            merged[key] = _merged(known, value)
        else:
            merged[key] = value
    return merged
