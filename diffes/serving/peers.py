"""Workers of one server: which of them has a request, and how the others reach it. They share no memory.

A request's id says its worker. Every worker listens on a Unix socket in a folder that only this user can open. One
line, an id, is answered by one: `1` if that request was dropped.
"""

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from starlette.concurrency import run_in_threadpool

from diffes.errors import NotReady

_ID = re.compile(r"img-(\d{1,6})-[0-9a-f]{32}")
_SECONDS = 10.0  # for a worker to answer


def new_id(worker: int) -> str:
    """Of a request that this worker (1, 2, ...) serves."""
    return f"img-{worker}-{uuid4().hex}"


def worker_of(request_id: str) -> int | None:
    """The worker whose request this is; None for what is no id."""
    found = _ID.fullmatch(request_id)
    return int(found.group(1)) if found else None


class Peers:
    """One worker's way to the others, in a folder that is theirs alone."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.worker = worker
        self._folder = folder
        self._server: asyncio.Server | None = None

    async def listen(self, cancel: Callable[[str], bool]) -> None:
        """Answer the others from now on; `cancel` drops a request of this worker, or tells that it has none such."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request_id = (await reader.readline()).decode("ascii", "replace").strip()
            dropped = await run_in_threadpool(cancel, request_id)
            writer.write(b"1\n" if dropped else b"0\n")
            await writer.drain()
            writer.close()

        self._folder.mkdir(mode=0o700, exist_ok=True)
        if self._folder.stat().st_uid != os.getuid():
            raise NotReady("not ready", expected=f"a folder {self._folder} of this user", found="another's")
        self._socket(self.worker).unlink(missing_ok=True)  # of a worker that was killed
        self._server = await asyncio.start_unix_server(answer, self._socket(self.worker))

    async def cancel(self, worker: int, request_id: str) -> bool:
        """Ask another worker; False also if it is gone, and its requests with it. NotReady if it does not answer."""
        try:
            async with asyncio.timeout(_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._socket(worker))
                writer.write(f"{request_id}\n".encode())
                await writer.drain()
                told = await reader.readline()
                writer.close()
        except TimeoutError as error:
            found = f"none from worker {worker}"
            raise NotReady("not cancelled", expected="an answer", found=found, remedy="Try again later.") from error
        except OSError:
            return False
        return told == b"1\n"

    async def close(self) -> None:
        """Leave; the last one removes the folder."""
        if self._server is not None:
            self._server.close()
            self._socket(self.worker).unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _socket(self, worker: int) -> Path:
        return self._folder / f"{worker}.sock"
