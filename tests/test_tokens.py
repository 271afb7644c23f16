from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError
from diffes.tokens import Tokenizer, tokens_of

TEXTS = ["a red cat", "", "A RED  CAT!", "red " * 100, "été \U0001f600"]


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2"])
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_transformers(tiny_sdxl_folder: Path, name: str, text: str) -> None:
    theirs = CLIPTokenizer.from_pretrained(tiny_sdxl_folder / name)
    expected = theirs(text, padding="max_length", max_length=77, truncation=True)["input_ids"]

    assert list(Tokenizer.read(tiny_sdxl_folder / name, 77).tokens(text)) == expected


def test_a_document_is_all_a_tokenizer_needs(tiny_sdxl: Checkpoint) -> None:
    again = [Tokenizer(tokenizer.document) for tokenizer in tiny_sdxl.tokenizers]

    assert tokens_of(again, "a red cat") == tokens_of(tiny_sdxl.tokenizers, "a red cat")


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        Tokenizer.read(tmp_path / "tokenizer", 77)
    with pytest.raises(CheckpointError, match="is no tokenizer: expected tokenizer.json or merges.txt and vocab.json"):
        Tokenizer.read(tmp_path, 77)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is no tokenizer"):
        Tokenizer.read(tmp_path, 77)
    with pytest.raises(CheckpointError, match="a tokenizer is damaged"):
        Tokenizer("{").tokens("a cat")
