"""Where one worker of several is, and where the others are."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from diffes.errors import NotReady

_LONGEST = 107  # bytes of a Unix socket's path, on Linux; 103 on macOS


class Place(NamedTuple):
    """Worker 1, 2, ... of so many, and its engine's, in a folder that is theirs alone."""

    folder: Path
    worker: int
    workers: int

    def enter(self) -> None:
        """Make the folder; NotReady if it is another user's, who could read and answer, or no socket can be in it."""
        if len(os.fsencode(self.socket(self.worker))) > _LONGEST:
            expected = f"a temporary folder such that a socket's path has {_LONGEST} bytes at most"
            remedy = "Set TMPDIR to a shorter one."
            raise NotReady("not ready", expected=expected, found=str(self.socket(self.worker)), remedy=remedy)
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            expected, found = f"a folder {self.folder}, which can be made", error.strerror
            remedy = "Set TMPDIR to a folder that can be written."
            raise NotReady("not ready", expected=expected, found=found, remedy=remedy) from error
        if self.folder.stat().st_uid != os.getuid():
            raise NotReady("not ready", expected=f"a folder {self.folder} of this user", found="another's")

    def leave(self) -> None:
        """The last one removes the folder."""
        self.socket(self.worker).unlink(missing_ok=True)
        if not any(self.folder.glob("*.sock")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def socket(self, worker: int) -> Path:
        """On which a worker's engine serves all of them."""
        return self.folder / f"{worker}.sock"

    @property
    def loads(self) -> Path:
        """The table of who has placed how much where."""
        return self.folder / "loads"
