"""What a load test came to: `loadtest.json`, from which and from the runs' files its page is made."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from diffes import __version__
from diffes.devices import hardware_name
from diffes.documents import require_format, validated
from diffes.errors import LoadTestError
from diffes.files import write_text_atomically
from loadtest.checks import Check
from loadtest.findings import Findings
from loadtest.likeness import Likeness
from loadtest.references import Comparison
from loadtest.saturation import Sustained
from loadtest.scenario import Scenario

RESULT = "loadtest.json"
_PACKAGES = ("bentoml", "locust", "geventhttpclient", "torch", "onnxruntime-gpu", "onnxruntime", "diffusers")


class RunResult(BaseModel):
    """One run: the folder of its files below the test's, requests a second on average (None: closed), and all of it.

    `compared` says which figures of the service could be laid beside its callers'. `promised` are the checks of the
    SLO, `sound` those that any run has to stand.
    """

    model_config = ConfigDict(frozen=True)

    folder: str
    rate: float | None
    findings: Findings
    compared: str
    disagreements: list[str]
    happened: list[str] = []  # what went wrong on purpose
    promised: list[Check]
    sound: list[Check]

    @property
    def held(self) -> bool:
        """Whether it kept to the SLO."""
        return all(check.holds for check in self.promised)


class ContenderResult(BaseModel):
    """What was loaded, by its name, and what it said of itself."""

    model_config = ConfigDict(frozen=True)

    name: str
    told: dict[str, str]
    start_seconds: float | None  # from its process' start until it was ready; None: it ran already
    runs: list[RunResult]
    sustained: Sustained | None = None
    images: Comparison | None = None
    likeness: Likeness | None = None  # to the first contender's images


class Result(BaseModel):
    """All of a load test; `unit` is seconds of one request alone, None where the scenario is in seconds."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    format: Literal[1] = 1
    scenario: str
    asked: Scenario
    seed: int
    unit: float | None
    began: str  # RFC 3339
    machine: dict[str, str]
    contenders: list[ContenderResult]
    checks: list[Check]
    verdict: str
    passed: bool

    def save(self, folder: Path) -> None:
        """Into the test's folder."""
        write_text_atomically(folder / RESULT, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """LoadTestError for a folder without a finished test, or with one that is damaged or of another time."""
        remedy = "Run the test again."
        try:
            document = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise LoadTestError(f"no load test in {folder}", expected=RESULT, found="no such file") from error
        except ValueError as error:
            found = str(error)
            raise LoadTestError(f"{RESULT} cannot be read", expected="JSON", found=found, remedy=remedy) from error
        require_format(document, RESULT, LoadTestError, remedy=remedy)
        return validated(cls, document, RESULT, LoadTestError)

    @property
    def slo(self) -> float:
        """Seconds within which a request is answered in time."""
        return self.asked.slo.within * (self.unit or 1.0)


def this_machine(device: str) -> dict[str, str]:
    """Hardware and versions."""
    told = {"device": hardware_name(device), "cores": str(cpu_count()), "platform": platform.platform()}
    told |= {"python": platform.python_version(), "diffes": __version__}
    for name in _PACKAGES:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            continue
    return told
