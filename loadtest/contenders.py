"""What is loaded: a service that runs somewhere, or one that is started for the test."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from diffes.backends.remote.address import Address
from loadtest.disk import small_disk
from loadtest.faults import Fault
from loadtest.gpu import used_bytes
from loadtest.peers.start import PeerName, start_peer
from loadtest.relay import Relay
from loadtest.service import Service, serve_bundle
from loadtest.target import Target

Opener = Callable[[Path, bool], AbstractContextManager[Target]]


@dataclass(frozen=True)
class Contender:
    """`open` takes a folder for logs, and whether to wait until the service is ready; it ends what it started.

    With a `schedule` every request asks for it, whatever the scenario's mix. `what` tells it from others of its name.
    """

    name: str
    open: Opener
    schedule: str | None = None
    what: str = ""


def running(url: str, key: str, log: Path | None) -> Opener:
    """A service that is there already."""

    @contextmanager
    def opened(_folder: Path, _wait: bool) -> Iterator[Target]:
        yield Target(url.rstrip("/"), key, log=log)

    return opened


def served(bundle: Path, settings: Mapping[str, str], key: str, faults: Sequence[Fault] = ()) -> Opener:
    """`diffes serve` of a bundle, with settings that come before the environment's, such that faults can be made.

    A disk that will be filled is a small one of its own, and a Triton server that will be cut off is behind a relay.
    """
    kinds = {fault.kind for fault in faults}

    @contextmanager
    def opened(folder: Path, wait: bool) -> Iterator[Target]:
        with ExitStack() as stack:
            told, disk, relay = dict(settings), None, None
            if "fill-disk" in kinds:
                disk = stack.enter_context(small_disk(folder / "disk"))
                told["cache"] = str(disk.absolute())
            if "cut-triton" in kinds and told.get("backend") == "triton":
                there = Address.parse(told["device"])
                relay = stack.enter_context(closing(Relay(there.host, there.port)))
                told["device"] = re.sub(r"[^/?]+", f"127.0.0.1:{relay.port}", told["device"], count=1)
            start = partial(serve_bundle, bundle, settings=told)
            target = stack.enter_context(_started(start, key, bundle, folder, wait))
            yield replace(target, disk=disk, relay=relay)

    return opened


def peer(name: PeerName, model: Path, settings: Mapping[str, Any]) -> Opener:
    """A plain diffusers pipeline behind another server; `settings` as `start_peer` takes them."""
    return partial(_started, lambda folder: start_peer(name, model, folder, **settings), "", None)


@contextmanager
def _started(
    start: Callable[[Path], Service], key: str, bundle: Path | None, folder: Path, wait: bool
) -> Iterator[Target]:
    service = start(folder)
    before = used_bytes() or 0  # it has only just begun, and what was left of a test that was killed is gone
    try:
        if wait:
            service.wait_until_ready()
        yield Target(
            service.url, key, service=service, bundle=bundle, log=service.log if bundle else None, device_before=before
        )
        service.terminate()
    finally:
        service.kill()
