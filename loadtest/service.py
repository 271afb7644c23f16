"""A service as a process of ours: started, waited for, stopped."""

import os
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

START_SECONDS = 600.0  # a large bundle is hashed, opened and warmed up
_STOP_SECONDS = 120.0
_POLL_SECONDS = 0.1
_TOLD_LINES = 15  # of the log of a service that ended


@dataclass
class Service:
    """A running server, its address and its log."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    began: float = field(default_factory=time.time)  # since 1970

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

        In a session of its own, so that what interrupts us leaves it to be ended by us.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
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
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self.process.pid)
            return [server, *server.children(recursive=True)]
        return []

    def end(self, seconds: float = _STOP_SECONDS) -> int:
        """Exit code of a server that ends by itself."""
        return self.process.wait(seconds)

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """End it and its workers, which are in sessions of their own, if they still run."""
        if self.process.poll() is None:
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()

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
    return Service.launch(command, port, folder / "service.log", environment=environment)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
