"""Who is loaded, from what a command line says: one service, or several contenders in one test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffes.bundle import Bundle
from diffes.errors import InvalidInput
from diffes.files import sha256_of
from diffes.manifest import MANIFEST
from loadtest.contenders import Contender, Opener, peer, running, served
from loadtest.mix import DEFAULT
from loadtest.peers.start import PEERS
from loadtest.scenario import Scenario

_PEER, _COMPILED = "diffusers-", "-compiled"  # diffusers-fastapi, diffusers-bentoml-compiled, ...
_TOLD = ("device", "threads")  # of the service's settings, what a peer is told, too


@dataclass(frozen=True, kw_only=True)
class Lineup:
    """`settings` are the service's, for one that is started; `model` is what peers serve, a diffusers folder."""

    url: str | None = None
    bundle: Bundle | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    log: Path | None = None
    model: Path | None = None

    def contenders(self, scenario: Scenario, compare: Sequence[str]) -> list[Contender]:
        """One for each name to compare: a schedule, or a peer; without names, the service as it is.

        InvalidInput for what cannot be.
        """
        service = self._service(scenario)
        if not compare:
            return [Contender("service", service, what=self._what())]
        if len(set(compare)) < len(compare):
            raise InvalidInput("compare", expected="different names", found=", ".join(compare))
        return [self._contender(name, service, scenario) for name in compare]

    def _what(self) -> str:
        """What is loaded: another address, bundle or setting is another test."""
        if self.url is not None:
            return f"at {self.url}"
        assert self.bundle is not None
        settings = ", ".join(f"{name} {value}" for name, value in sorted(self.settings.items()))
        return f"of bundle {sha256_of(self.bundle.folder / MANIFEST)[:16]}" + (f", {settings}" if settings else "")

    def _service(self, scenario: Scenario) -> Opener:
        if self.url is not None:
            if self.settings:
                expected = "none of a service that runs already"
                raise InvalidInput("settings", expected=expected, found=", ".join(self.settings))
            if scenario.cold or scenario.faults:
                expected = "--bundle, so that it is started for the test: it starts cold, or is done something to"
                raise InvalidInput("service", expected=expected, found=f"--url {self.url}")
            return running(self.url, self.key, self.log)
        if self.bundle is None:
            expected = "--url of one that runs, or --bundle to start one"
            raise InvalidInput("service", expected=expected, found="neither")
        told = {name: str(value) for name, value in scenario.service.items()} | dict(self.settings)
        if any(fault.kind == "cut-triton" for fault in scenario.faults):
            _require_triton(told)
        return served(self.bundle.folder, told, self.key, scenario.faults)

    def _contender(self, name: str, service: Opener, scenario: Scenario) -> Contender:
        if name.startswith(_PEER):
            opener = self._peer(name)
            _require_plain(name, scenario)
            return Contender(name, opener, what=f"of {self.model}, {self._what()}")
        if self.bundle is not None:
            self.bundle.schedule(name)
        elif Path(name).name != name:
            raise InvalidInput("compare", expected="names of schedules, which folders are named by, too", found=name)
        return Contender(name, service, schedule=name, what=self._what())

    def _peer(self, name: str) -> Opener:
        kind = next((peer for peer in PEERS if name.removesuffix(_COMPILED) == f"{_PEER}{peer}"), None)
        if kind is None:
            expected = "a schedule, or " + " or ".join(f"{_PEER}{peer}[{_COMPILED}]" for peer in PEERS)
            raise InvalidInput("compare", expected=expected, found=name)
        if self.model is None or self.bundle is None:
            expected = "--model, the diffusers folder it serves, and --bundle"
            raise InvalidInput(name, expected=expected, found="not both")
        sampler = self.bundle.schedule().sampler
        settings = {
            **{key: self.settings[key] for key in _TOLD if key in self.settings},
            "dtype": self.bundle.manifest.dtype,
            "steps": sampler.steps,
            "guidance": sampler.guidance,
            "compiled": name.endswith(_COMPILED),
        }
        return peer(kind, self.model, settings)


def _require_triton(settings: Mapping[str, str]) -> None:
    if settings.get("backend") != "triton" or "device" not in settings:
        expected = "--backend triton and --device, its server's HOST:PORT, so that there is something to cut off"
        found = ", ".join(f"--{name} {settings[name]}" for name in ("backend", "device") if name in settings)
        raise InvalidInput("service", expected=expected, found=found or "neither")


def _require_plain(name: str, scenario: Scenario) -> None:
    """A peer can do less than a service of ours: nothing is told to be its fault that it was never made for."""
    mix = scenario.mix
    asked = {
        "mix.stream": mix.stream > 0,
        "mix.timeout": mix.timeout is not None,
        "mix.schedules": set(mix.schedules) != {DEFAULT},
        "faults": bool(scenario.faults),
    }
    if found := [what for what, is_asked in asked.items() if is_asked]:
        raise InvalidInput(f"scenario for {name}", expected=f"none of {', '.join(asked)}", found=", ".join(found))
