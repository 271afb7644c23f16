"""`diffes loadtest` as it is typed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from diffes.cli import main
from loadtest.result import ContenderResult, Result, RunResult

SECONDS = 300.0  # of a test, on a machine that does other things


@contextmanager
def typed(*arguments: object) -> Iterator[None]:
    """A command line of this process; signals mean afterwards what they meant before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["diffes", "loadtest", *map(str, arguments)])
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def exit_of(*arguments: object) -> int:
    """Of a load test with these arguments."""
    with typed(*arguments), pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@dataclass
class Running:
    """A load test in a process of its own; what it says is in a file beside its folder."""

    process: subprocess.Popen[bytes]
    folder: Path
    said: Path

    @classmethod
    def begin(cls, folder: Path, *arguments: object) -> "Running":
        """With all its files in `folder`."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "diffes", "loadtest", *map(str, arguments), "--out", str(folder)]
        said = folder.with_suffix(".said")
        with said.open("wb") as file:
            return cls(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT), folder, said)

    def family(self) -> list[psutil.Process]:
        """Itself and all that it has started."""
        test = psutil.Process(self.process.pid)
        return [test, *test.children(recursive=True)]

    def end(self, number: int | None = None) -> int:
        """Its exit code, after a signal or by itself."""
        if number is not None:
            os.kill(self.process.pid, number)
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        """With all that it has started, if it still runs."""
        if self.process.poll() is None:
            for process in self.family():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()


def setting(*lines: str) -> list[str]:
    """Values that go before the scenario's."""
    return [part for line in lines for part in ("--set", line)]


def only(result: Result) -> tuple[ContenderResult, RunResult]:
    """The only contender and its only run."""
    (contender,) = result.contenders
    (run,) = contender.runs
    return contender, run


def sound(folder: Path) -> tuple[Result, RunResult]:
    """What a test in a folder came to: no request without a fate, no side against the other, no wrong image."""
    result = Result.load(folder)
    contender, run = only(result)
    assert run.findings.fates["unknown"] == 0
    assert run.disagreements == []
    assert next(check for check in run.sound if check.name == "the service at the end").found == "nobody inside"
    assert contender.images is not None
    assert contender.images.wrong == []
    assert contender.images.images >= run.findings.fates["answered"] > 0
    return result, run
