"""A worker's engine process: started, started again when it ends by itself, told when to end."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread

from diffes.serving.metric_files import forget_dead_processes
from diffes.serving.workers.loads import Duty
from diffes.serving.workers.place import Place

_MODULE = "diffes.serving.engine_process"

logger = logging.getLogger(__name__)


class Keeper:
    """Keeps one running, from `start` to `close`."""

    failure: str | None = None  # why there will be none any more

    def __init__(self, place: Place, duty: Duty, started: Callable[[], object]) -> None:
        """`duty` is what the process writes: whether it serves. `started` hears of every process."""
        self._place, self._duty, self._hear = place, duty, started
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False
        self._lock = Lock()
        self._thread = Thread(target=self._keep, name="diffes-keeper", daemon=True)

    def start(self) -> None:
        """Begin; OSError if no process can be started."""
        self._duty.ready(yes=False)  # as that of a worker which was killed still is
        self._process = self._started()
        self._thread.start()

    def close(self) -> None:
        """Have it end: it answers what is inside first, for as long as the settings say."""
        with self._lock:
            self._closing = True
            if self._process is not None and self._process.stdin is not None:
                with suppress(OSError, ValueError):  # it has ended
                    self._process.stdin.write(b"close\n")

    def wait(self, seconds: float) -> None:
        """Until it has ended; after so long it is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        """In a session of its own: what is sent to all of a terminal's processes is not for it to hear. It ends when
        its standard input does, and so with this process.
        """
        arguments = [str(self._place.folder), str(self._place.worker), str(self._place.workers)]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE, *arguments],
            stdin=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # which BentoML adds to
            start_new_session=True,
        )
        self._hear()
        return process

    def _keep(self) -> None:
        while (process := self._process) is not None:
            code = process.wait()
            served = self._duty.is_ready
            self._duty.ready(yes=False)
            forget_dead_processes()
            with self._lock:
                assert process.stdin is not None
                process.stdin.close()
                if self._closing:
                    return
                self._process = self._next(f"engine process {process.pid} {_told(code)}", served=served)

    def _next(self, ended: str, *, served: bool) -> subprocess.Popen[bytes] | None:
        if not served:
            self.failure = f"{ended} before it served"
            return None
        logger.error("%s; another is started", ended)
        try:
            return self._started()
        except OSError as error:
            self.failure = f"{ended}, and none can be started: {error}"
            return None


def _told(code: int) -> str:
    return f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
