from pathlib import Path

import pytest

from diffes.errors import InvalidInput
from diffes.texts import SHIPPED, read_texts


def test_a_file_has_one_text_a_line_each_once(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\n\n  a dog \na cat\n", encoding="utf-8")

    assert read_texts(path) == ("a cat", "a dog")


def test_the_shipped_ones_are_many_and_all_different() -> None:
    assert len(read_texts(SHIPPED)) == 64


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe", b"x" * 2001])
def test_what_is_no_list_of_texts_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="invalid prompts"):
        read_texts(path)
    with pytest.raises(InvalidInput, match="invalid prompts"):
        read_texts(tmp_path / "absent.txt")
