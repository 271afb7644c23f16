"""`bentoml serve` as a subprocess: started, waited for, asked, stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[1]
_PATIENCE = 120.0  # seconds for a start on a busy machine; readiness is polled, so a quick one costs nothing


@dataclass
class Service:
    """A running server, its address and its log."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait_until_ready(self) -> None:
        """Poll /readyz; fails with the log if the server ends or takes too long."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"not ready:\n{self.text()}")

    def end(self) -> int:
        """Exit code of a server that ends by itself."""
        return self.process.wait(_PATIENCE)

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """End it and its workers, which are in sessions of their own, if they still run."""
        if self.process.poll() is None:
            server = psutil.Process(self.process.pid)
            for process in (server, *server.children(recursive=True)):
                process.kill()
            self.process.wait()

    def text(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace")


def start(folder: Path, bundle: Path | None, **environment: str) -> Service:
    """`bentoml serve` in the repository's root on a free port, with a BENTOML_HOME of its own."""
    port = free_port()
    home = folder / "bentoml"
    home.mkdir(parents=True)
    settings = {"DIFFES_BUNDLE": str(bundle), "DIFFES_THREADS": "1"} if bundle else {}
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("BENTOML_", "DIFFES_"))}
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean | settings | {"BENTOML_HOME": str(home)} | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Service(process, f"http://127.0.0.1:{port}", folder / "log")


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
