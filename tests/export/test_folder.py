"""A bundle folder is whole or absent, and nothing else is ever replaced."""

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
