"""A bundle folder is whole or absent, and nothing else is ever replaced."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diffes.errors import BundleError
from diffes.manifest import MANIFEST
from export.folder import new_folder


def write(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)


def test_the_folder_appears_at_the_end_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "out", overwrite=False) as folder:
        write(folder, "new")
        assert not (tmp_path / "deep" / "out").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "out", overwrite=False) as folder:
        write(folder / "missing", "half")
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_replaced_only_if_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out, "old")
    with pytest.raises(BundleError, match="holds a bundle"), new_folder(out, overwrite=False):
        pass
    with new_folder(out, overwrite=True) as folder:
        write(folder, "new")
    assert (out / MANIFEST).read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_replacement_keeps_the_old_bundle(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out, "old")
    with pytest.raises(KeyError), new_folder(out, overwrite=True):
        raise KeyError
    assert (out / MANIFEST).read_text() == "old"


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="is no bundle"), new_folder(tmp_path, overwrite=True):
        pass
    with pytest.raises(BundleError, match="is no bundle"), new_folder(tmp_path / "notes.txt", overwrite=True):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


WRITER = """
import sys
from pathlib import Path
from export.folder import new_folder
with new_folder(Path(sys.argv[1]), overwrite=True) as folder:
    (folder / "manifest.json").write_text("half")
    print("writing", flush=True)
    input()
"""


@contextmanager
def writing(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of it, killed at the end."""
    command = [sys.executable, "-c", WRITER, str(out)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with writing(out), writing(tmp_path / "out.12345678"):
        pass
    left = {path.name[:5] for path in tmp_path.iterdir()}
    assert left == {".out."}
    with new_folder(out, overwrite=False) as folder:
        write(folder, "new")

    assert (out / MANIFEST).read_text() == "new"
    assert len([path for path in tmp_path.iterdir() if path != out]) == 1  # of another folder, whose business it is


def test_nobody_removes_what_another_process_is_writing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with writing(out) as other:
        with new_folder(out, overwrite=False) as folder:
            write(folder, "mine")
        assert (out / MANIFEST).read_text() == "mine"
        other.communicate("\n", timeout=60)
        assert other.returncode == 0
    assert (out / MANIFEST).read_text() == "half"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_bundle_is_put_back_that_was_to_be_replaced_when_the_process_was_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out, "old")
    with writing(out):
        (workspace,) = (path for path in tmp_path.iterdir() if path != out)
        out.rename(workspace / "old")  # as far as it came
    with pytest.raises(BundleError, match="holds a bundle"), new_folder(out, overwrite=False):
        pass

    assert (out / MANIFEST).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
