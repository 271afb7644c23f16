"""A service as a process of ours: started, waited for, stopped."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
import psutil

from diffes.errors import LoadTestError
from diffes.serving.config import PREFIX
from diffes.serving.launch import server_home

START_SECONDS = 600.0  # a large bundle is hashed, opened and warmed up
_STOP_SECONDS = 120.0
_KILL_SECONDS = 10.0
_POLL_SECONDS, _KILL_POLL_SECONDS = 0.1, 0.01
_TOLD_LINES = 15  # of the log of a service that ended


@dataclass
class Service:
    """A running server, its address and its log."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    began: float = field(default_factory=time.time)  # since 1970
    leaves: Path | None = None  # a folder that is of no use once it has ended

    @classmethod
    def launch(
        cls,
        command: Sequence[str],
        port: int,
        log: Path,
        *,
        environment: Mapping[str, str],
        folder: Path | None = None,
    ) -> Self:
        """Start a command that will serve at `port` of this machine; it is not waited for.

        In a session of its own, so that what interrupts us leaves it to be ended by us. One that we left with the same
        log, because we were killed, is ended first: it would take its share of the machine.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        _end_what_was_left(who := log.with_name(f"{log.name}.pid"))
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        who.write_text(_named(process.pid))
        return cls(process, f"http://127.0.0.1:{port}", log)

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Poll /readyz; LoadTestError with the end of its log if the server ends or takes longer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.is_ready():
                return
            time.sleep(_POLL_SECONDS)
        lines = "\n".join(self.text().splitlines()[-_TOLD_LINES:])
        code = self.process.poll()
        found = f"nothing after {seconds:g} s" if code is None else f"that it ended with code {code}"
        raise LoadTestError(
            "the service did not get ready", expected=f"200 from {self.url}/readyz", found=f"{found}:\n{lines}"
        )

    def is_ready(self) -> bool:
        """Whether /readyz says so now."""
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def processes(self) -> list[psutil.Process]:
        """The server and everything it has started, as far as it still runs."""
        return _family(self.process.pid)

    def end(self, seconds: float = _STOP_SECONDS) -> int:
        """Exit code of a server that ends by itself."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            expected, found = f"its end within {seconds:g} s of SIGTERM", "that it still runs"
            raise LoadTestError("the service does not end", expected=expected, found=found) from error

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """End it and its workers, which are in sessions of their own, if they still run; and tidy up."""
        if self.process.poll() is None:
            _kill(self.processes())
            self.process.wait()
        if self.leaves is not None:
            shutil.rmtree(self.leaves, ignore_errors=True)

    def text(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace")


def serve_bundle(bundle: Path, folder: Path, settings: Mapping[str, str]) -> Service:
    """`diffes serve` on a free port, its log in `folder`. `settings` by their names come before the environment's.

    It logs JSON, so that what it tells of every request can be read.
    """
    port = free_port()
    command = [sys.executable, "-m", "diffes", "serve", str(bundle.absolute()), "--port", str(port)]
    told = {f"{PREFIX}{name.upper()}": value for name, value in settings.items()}
    environment = os.environ | told | {f"{PREFIX}LOG": "json"}
    service = Service.launch(command, port, folder / "service.log", environment=environment)
    service.leaves = None if "cache" in settings else server_home("127.0.0.1", port)
    return service


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        return [server, *server.children(recursive=True)]
    return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    """At once; by the end nothing is left of them but what their parents have not asked for yet."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + _KILL_SECONDS
    while any(map(_runs, processes)) and time.monotonic() < deadline:
        time.sleep(_KILL_POLL_SECONDS)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _named(pid: int) -> str:
    """A process as no other is called that gets its number later."""
    with suppress(psutil.NoSuchProcess):
        return f"{pid} {psutil.Process(pid).create_time()}"
    return ""


def _end_what_was_left(who: Path) -> None:
    if who.exists() and (name := who.read_text()) and name == _named(pid := int(name.split()[0])):
        _kill(_family(pid))


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
