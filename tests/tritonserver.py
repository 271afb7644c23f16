"""A real tritonserver on CPU: the one inside the nvidia-pytriton wheel, kept in `.cache/` and started on free ports.

`python -m tests.tritonserver REPOSITORY` runs it on port 8001 until Ctrl-C.
"""

import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx

from export.triton import Hosting
from tests.service import free_port

ROOT = Path(__file__).parents[1]
# one thread, at most four rows a call, and these sources rather than any installed ones
HOSTING = Hosting(threads="1", max_rows="4", python_path=str(ROOT))
WHEEL = "nvidia-pytriton==0.7.0"
_CACHE = ROOT / ".cache" / "tritonserver" / WHEEL.partition("==")[2]
_PATIENCE = 120.0  # seconds for a start on a busy machine; readiness is polled, so a quick one costs nothing


class Unavailable(Exception):
    """Why there is no tritonserver here."""


@dataclass(frozen=True)
class Installation:
    """The wheel's server, with the stub of this Python in the backend's folder."""

    server: Path
    backends: Path
    libraries: str


@cache
def installation() -> Installation:
    """Fetch the wheel once, without what it depends on; Unavailable says why it cannot run here."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Unavailable(f"the wheel is for Linux on x86_64, this is {sys.platform} on {platform.machine()}")
    if not _CACHE.exists():
        _fetch()
    tritonserver = _CACHE / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = tritonserver / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise Unavailable(f"the wheel has no stub for Python {version}")
    library = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
    if not library.is_file() or ".so" not in library.name:
        raise Unavailable("the stub needs a shared libpython, which this Python is built without")
    backends = tritonserver / "backends"
    if not (backends / "python" / stub.name).exists():
        shutil.copy2(stub, backends / "python")
    libraries = os.pathsep.join([str(_CACHE / "nvidia_pytriton.libs"), str(library.parent)])
    return Installation(tritonserver / "bin" / "tritonserver", backends, libraries)


def _fetch() -> None:
    _CACHE.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new.", dir=_CACHE.parent))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-compile",
    ]
    done = subprocess.run([*pip, "--only-binary=:all:", "--target", str(fresh), WHEEL], capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(fresh)
        raise Unavailable(f"pip cannot install {WHEEL}: {done.stderr.strip().splitlines()[-1]}")
    fresh.rename(_CACHE)


@dataclass
class Server:
    """A running tritonserver, its ports and its log; it may be killed and started again on the same ports."""

    repository: Path
    log: Path
    http: int = field(default_factory=free_port)
    grpc: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As `--device` wants it."""
        return f"127.0.0.1:{self.grpc}"

    @property
    def _memory(self) -> str:
        return f"diffes_test_{self.grpc}_"

    def start(self) -> None:
        """Start and wait until it is ready."""
        found = installation()
        command = [str(found.server), "--backend-directory", str(found.backends)]
        command += ["--model-repository", str(self.repository), "--allow-metrics=false", "--exit-on-error=false"]
        command += [f"--backend-config=python,shm-region-prefix-name={self._memory}"]
        command += ["--http-address=127.0.0.1", f"--http-port={self.http}"]
        command += ["--grpc-address=127.0.0.1", f"--grpc-port={self.grpc}"]
        # the stub becomes the Python that it finds first: this environment
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = os.environ | {"LD_LIBRARY_PATH": found.libraries, "PATH": path}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """End it and the model's process at once, as a crash would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
            for left in Path("/dev/shm").glob(f"{self._memory}*"):  # between the server and its model's process
                left.unlink()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and self.process is not None and self.process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{self.http}/v2/health/live", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"not ready:\n{self.log.read_text(errors='replace')}")


def main() -> None:
    """Serve the repository of the command line."""
    server = Server(Path(sys.argv[1]), Path(tempfile.mkdtemp(prefix="tritonserver."), "log"), http=8000, grpc=8001)
    server.start()
    sys.stdout.write(f"gRPC on {server.address}, log in {server.log}\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        signal.pause()
    server.kill()


if __name__ == "__main__":
    main()
