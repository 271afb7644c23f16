"""A small disk of its own for what a service writes, so that it can be filled without filling anybody else's."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diffes.errors import LoadTestError

_SIZE = 64 << 20  # bytes: what a service writes takes a few
_PIECE = 1 << 20
_FILLER = "filler"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """`folder` as a file system in memory, gone at the end of the block; LoadTestError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        said = (done.stderr.strip() or f"code {done.returncode}") if done.returncode else ""
    except FileNotFoundError as error:
        said = str(error)
    if said:
        remedy = "Run it as root on Linux, or leave fill-disk out."
        raise LoadTestError("a small disk cannot be made", expected="mount -t tmpfs", found=said, remedy=remedy)
    try:
        yield folder
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """With what killed tests have left there."""
    while folder.is_mount() and not subprocess.run(["umount", "--lazy", str(folder)], check=False).returncode:
        pass


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / _FILLER).open("wb", buffering=0) as file, suppress(OSError):
        while True:  # what has less room than a piece is written in part
            file.write(bytes(_PIECE))


def empty(disk: Path) -> None:
    """Give back what `fill` took."""
    (disk / _FILLER).unlink(missing_ok=True)
