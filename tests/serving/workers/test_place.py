import os
from pathlib import Path

import pytest

from diffes.errors import NotReady
from diffes.serving.workers.place import Place


def test_the_folder_is_its_users_alone_and_the_last_worker_removes_it(tmp_path: Path) -> None:
    one, two = (Place(tmp_path / "place", worker, 2) for worker in (1, 2))
    for place in (one, two):
        place.enter()
        place.socket(place.worker).touch()
    assert one.folder.stat().st_mode & 0o777 == 0o700
    one.leave()
    assert two.socket(2).exists()
    two.leave()
    assert not one.folder.exists()


def test_a_folder_in_which_no_socket_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="expected .* 107 bytes at most, found .*Set TMPDIR to a shorter one"):
        Place(tmp_path / ("x" * 100), 1, 2).enter()
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotReady, match="found Not a directory.* Set TMPDIR to a folder that can be written"):
        Place(tmp_path / "file" / "place", 1, 1).enter()


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(NotReady, match="expected a folder .* of this user, found another's"):
        Place(tmp_path, 1, 2).enter()
