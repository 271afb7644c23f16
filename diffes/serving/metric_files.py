"""The files in which prometheus_client keeps the metrics of several processes, mapped into each one's memory.

They are sparse. Writing to a part that is not on the disk yet ends a process without a word (SIGBUS) if the disk is
full: so all of it is claimed while there is room, and a worker that finds none says so.
"""

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from diffes.errors import NotReady
from diffes.files import take_room

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_NEEDED = 8 << 20  # bytes: a process has at most 6 files of 1 MiB


def require_room() -> None:
    """NotReady if this process could not write its metrics; to be asked before the first is made."""
    if (folder := os.environ.get(FOLDER)) is None:
        return
    probe = Path(folder, f".room_{os.getpid()}")
    try:
        with probe.open("wb") as file:
            take_room(file.fileno(), _NEEDED)
    except OSError as error:
        raise NotReady(
            "metrics cannot be written",
            expected=f"{_NEEDED >> 20} MiB of room in {folder}",
            found=error.strerror,
            remedy="Free some of that disk; a worker starts again by itself.",
        ) from error
    finally:
        probe.unlink(missing_ok=True)


def claim_room() -> None:
    """Take the whole of this process's files from the disk; to be done once every metric is made."""
    if (folder := os.environ.get(FOLDER)) is None:
        return
    for path in Path(folder).glob(f"*_{os.getpid()}.db"):
        with path.open("r+b") as file:
            take_room(file.fileno(), path.stat().st_size)


def forget_dead_processes() -> None:
    """Take gauges of killed processes out of the sums; whoever comes in place of one calls this first."""
    folder = os.environ.get(FOLDER)
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = int(file.stem.rsplit("_", 1)[1])
        if not Path(f"/proc/{pid}").exists():
            with suppress(FileNotFoundError):  # another forgets it, too
                mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
