"""One run of a plan: locust in a process of its own, whose module it patches; what it wrote, read as it comes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from diffes.errors import LoadTestError
from loadtest.plan import Plan
from loadtest.rows import Row

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
PLAN, BEGAN, ROWS, IMAGES = "plan.json", "began.json", "rows.jsonl", "images"
KEY_VARIABLE = "LOADTEST_KEY"  # how the API key gets to locust: a command line is seen by all
PARENT_VARIABLE = "LOADTEST_PARENT"  # the process without which locust ends, too
CUT_SHORT = 3  # locust's exit code unless all of the plan was sent and has ended
_LOG = "locust.log"
_TOLD = 2000  # characters of a log
_STOP_SECONDS = 30.0


@dataclass
class Run:
    """A run under way, or over."""

    plan: Plan
    folder: Path
    process: subprocess.Popen[bytes]
    _rows: list[Row] = field(default_factory=list)
    _read: int = 0  # bytes

    @property
    def began(self) -> float | None:
        """Seconds since 1970 when time 0 of the rows was; None until then."""
        try:
            began: float = json.loads((self.folder / BEGAN).read_text(encoding="utf-8"))["began"]
        except FileNotFoundError:
            return None
        return began

    @property
    def over(self) -> bool:
        """Whether locust has ended."""
        return self.process.poll() is not None

    def rows(self) -> list[Row]:
        """Of all requests that have ended; the file is read on from where it was."""
        with suppress(FileNotFoundError), (self.folder / ROWS).open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
            self._rows += [Row.from_json(line) for line in whole.decode().splitlines()]
            self._read += len(whole) + len(end)
        return self._rows

    def require_whole(self) -> None:
        """LoadTestError unless locust ended by itself after the last request."""
        self.process.wait()
        if self.began is None or self.process.returncode not in (0, 1):  # 1: some requests failed
            log = (self.folder / _LOG).read_text(errors="replace")[-_TOLD:]
            found = f"code {self.process.returncode}:\n{log}"
            raise LoadTestError("locust did not send the requests", expected="that it ends by itself", found=found)


@contextmanager
def sending(plan: Plan, url: str, folder: Path, key: str = "") -> Iterator[Run]:
    """Send a plan's requests to `url`; what is left of them at the end of the block is not sent."""
    if find_spec("locust") is None:
        remedy = "pip install 'diffes[loadtest]'"
        raise LoadTestError("load tests need locust", expected="it is installed", found="it is not", remedy=remedy)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (BEGAN, ROWS):
        (folder / stale).unlink(missing_ok=True)
    plan.save(folder / PLAN)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    told = {KEY_VARIABLE: key, PARENT_VARIABLE: str(os.getpid())}
    with (folder / _LOG).open("wb") as log:
        process = subprocess.Popen(command(url, folder), env=environment | told, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield Run(plan, folder, process)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def command(url: str, folder: Path) -> list[str]:
    """The locust command line."""
    line = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    line += ["--loglevel", "WARNING", "-u", "1", "-r", "1"]
    return [*line, "--host", url.rstrip("/"), "--run-folder", str(folder)]
