"""A bundle folder that is whole or absent."""

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from diffes.errors import BundleError
from diffes.manifest import MANIFEST

logger = logging.getLogger(__name__)

_LOCK = "lock"  # held as long as the process that writes a workspace lives
_NEW, _OLD = "new", "old"
_RANDOM = r"\.[a-z0-9_]{8}"  # as tempfile ends names


@contextmanager
def new_folder(out: Path, *, overwrite: bool, mark: Path = Path(MANIFEST)) -> Iterator[Path]:
    """Yield a temporary sibling of `out` that takes its place on success and vanishes on failure.

    `mark` is the file that tells a bundle, or what wraps one, from other folders. BundleError if `out` is something
    else, or a bundle that may not be overwritten. What a killed process left of an earlier try is removed first, and a
    bundle that it was about to replace is put back.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for workspace in out.parent.iterdir():
        if re.fullmatch(re.escape(f".{out.name}") + _RANDOM, workspace.name):
            _clear(workspace, out)
    _check_target(out, overwrite, mark)
    workspace = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    with FileLock(workspace / _LOCK):
        try:
            fresh = workspace / _NEW
            fresh.mkdir()
            yield fresh
            if out.exists():
                out.rename(workspace / _OLD)
            fresh.rename(out)
        finally:
            shutil.rmtree(workspace)


def _clear(workspace: Path, out: Path) -> None:
    """Remove a workspace unless somebody is at work in it."""
    if not (workspace / _LOCK).is_file():
        return
    try:
        with FileLock(workspace / _LOCK, timeout=0):
            if (workspace / _OLD).is_dir() and not out.exists():
                (workspace / _OLD).rename(out)
            shutil.rmtree(workspace)
    except Timeout:
        return
    logger.warning("removed %s, which an export that was killed had left", workspace)


def _check_target(out: Path, overwrite: bool, mark: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / mark).is_file()):
        raise BundleError(f"{out} exists and is no bundle", expected="a new folder or a bundle", found="other files")
    if (out / mark).is_file() and not overwrite:
        raise BundleError(
            f"{out} holds a bundle", expected="a new folder", found=str(mark), remedy="Ask to overwrite it."
        )
