"""Who is loaded, from what a command line says: one service, or several contenders in one test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffes.bundle import Bundle
from diffes.errors import InvalidInput
from loadtest.contenders import Contender, Opener, peer, running, served
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
            return [Contender("service", service)]
        if len(set(compare)) < len(compare):
            raise InvalidInput("compare", expected="different names", found=", ".join(compare))
        return [self._contender(name, service) for name in compare]

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
        return served(self.bundle.folder, told, self.key, scenario.faults)

    def _contender(self, name: str, service: Opener) -> Contender:
        if name.startswith(_PEER):
            return Contender(name, self._peer(name))
        if self.bundle is not None:
            self.bundle.schedule(name)
        return Contender(name, service, schedule=name)

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
