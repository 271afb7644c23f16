"""A bundle folder that is whole or absent."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffes.errors import BundleError
from diffes.manifest import MANIFEST


@contextmanager
def new_folder(out: Path, *, overwrite: bool, mark: Path = Path(MANIFEST)) -> Iterator[Path]:
    """Yield a temporary sibling of `out` that takes its place on success and vanishes on failure.

    `mark` is the file that tells a bundle, or what wraps one, from other folders. BundleError if `out` is something
    else, or a bundle that may not be overwritten.
    """
    _check_target(out, overwrite, mark)
    out.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        fresh = workspace / "new"
        fresh.mkdir()
        yield fresh
        if out.exists():
            out.rename(workspace / "old")
        fresh.rename(out)
    finally:
        shutil.rmtree(workspace)


def _check_target(out: Path, overwrite: bool, mark: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / mark).is_file()):
        raise BundleError(f"{out} exists and is no bundle", expected="a new folder or a bundle", found="other files")
    if (out / mark).is_file() and not overwrite:
        raise BundleError(
            f"{out} holds a bundle", expected="a new folder", found=str(mark), remedy="Ask to overwrite it."
        )
