"""A small disk is a folder that can be full while nobody else's is."""

import errno
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diffes.errors import LoadTestError
from loadtest.disk import empty, fill, small_disk

MEBI = 1 << 20


@pytest.fixture
def disk_folder(tmp_path: Path) -> Path:
    """Where a disk can be mounted; skips where that is not allowed."""
    try:
        with small_disk(tmp_path / "disk"):
            pass
    except LoadTestError as reason:
        pytest.skip(str(reason))
    return tmp_path / "disk"


def free(folder: Path) -> int:
    """Bytes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def test_it_has_room_for_what_a_service_writes(disk_folder: Path) -> None:
    with small_disk(disk_folder) as disk:
        assert disk == disk_folder
        assert disk.is_mount()
        assert 16 * MEBI < free(disk) <= 64 * MEBI
        (disk / "written").write_bytes(bytes(16 * MEBI))


def test_filled_no_byte_can_be_written(disk_folder: Path) -> None:
    with small_disk(disk_folder) as disk:
        (disk / "before").write_bytes(bytes(3 * MEBI + 1))
        fill(disk)
        assert free(disk) == 0
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (disk / "one").write_bytes(b"1")
        assert (disk / "before").read_bytes() == bytes(3 * MEBI + 1)


def test_emptied_it_gives_back_what_was_taken(disk_folder: Path) -> None:
    with small_disk(disk_folder) as disk:
        (disk / "before").write_bytes(bytes(MEBI))
        room = free(disk)
        for _ in range(2):
            fill(disk)
            empty(disk)
            assert free(disk) == room
        assert [path.name for path in disk.iterdir()] == ["before"]


def test_an_empty_disk_may_be_emptied(tmp_path: Path) -> None:
    empty(tmp_path)


def test_nobody_else_s_disk_is_filled(disk_folder: Path) -> None:
    with small_disk(disk_folder) as disk:
        fill(disk)
        (disk_folder.parent / "beside").write_bytes(bytes(MEBI))


@pytest.mark.parametrize("how", ["ended", "failed"])
def test_it_is_gone_afterwards(disk_folder: Path, how: str) -> None:
    def use(disk: Path) -> None:
        fill(disk)
        if how == "failed":
            raise KeyboardInterrupt

    try:
        with small_disk(disk_folder) as disk:
            use(disk)
    except KeyboardInterrupt:
        pass
    assert not disk_folder.is_mount()
    assert list(disk_folder.iterdir()) == []
    (disk_folder / "written").write_bytes(bytes(65 * MEBI))


def test_it_is_gone_even_if_somebody_still_writes_there(disk_folder: Path) -> None:
    with small_disk(disk_folder) as disk:
        file = (disk / "open").open("wb")
    with file:
        file.write(b"1")
    assert not disk_folder.is_mount()


def test_those_that_killed_tests_have_left_are_gone_too(disk_folder: Path) -> None:
    for _ in range(2):
        subprocess.run(["mount", "-t", "tmpfs", "left", str(disk_folder)], check=True)
    with small_disk(disk_folder) as disk:
        assert list(disk.iterdir()) == []
    assert not disk_folder.is_mount()


SAYS = SimpleNamespace(returncode=32, stderr="mount: only root can do that\n")
SAYS_NOTHING = SimpleNamespace(returncode=1, stderr="")


@pytest.mark.parametrize(
    ("done", "found"),
    [(SAYS, "mount: only root can do that"), (SAYS_NOTHING, "code 1"), (FileNotFoundError("no mount"), "no mount")],
    ids=["not allowed", "no reason", "no mount"],
)
def test_where_it_cannot_be_made_the_reason_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Any, found: str
) -> None:
    def run(*_: object, **__: object) -> Any:
        if isinstance(done, Exception):
            raise done
        return done

    monkeypatch.setattr(subprocess, "run", run)
    told = rf"a small disk cannot be made: expected mount -t tmpfs, found {found}\. Run it as root on Linux"
    with pytest.raises(LoadTestError, match=told), small_disk(tmp_path / "disk"):
        pass
