"""Texts in tokens, ends and filling included, by tokenizers that are one JSON file each (Hugging Face's)."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from diffes.errors import CheckpointError

if TYPE_CHECKING:
    import tokenizers

_FILES = ({"tokenizer.json"}, {"vocab.json", "merges.txt"})
Tokens = tuple[tuple[int, ...], ...]  # of each text encoder


class Tokenizer:
    """One text encoder's: `document` is the JSON of one that cuts and fills every text to the encoder's length."""

    def __init__(self, document: str) -> None:
        self.document = document

    @classmethod
    def read(cls, folder: Path, length: int) -> "Tokenizer":
        """Of a `tokenizer` folder as diffusers saves it; CheckpointError if it is no such folder."""
        from transformers import CLIPTokenizer  # takes seconds, which models without texts need not wait

        if not folder.is_dir():
            raise CheckpointError("the model folder has no tokenizer", expected=f"{folder}", found="nothing")
        there = {path.name for path in folder.iterdir()}
        if not any(files <= there for files in _FILES):  # the library would make one that knows no word
            raise CheckpointError(
                f"{folder} is no tokenizer",
                expected=" or ".join(" and ".join(sorted(files)) for files in _FILES),
                found=", ".join(sorted(there)) or "nothing",
            )
        try:
            found = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{folder} is no tokenizer", expected="CLIP's kind", found=error) from error
        backend = found.backend_tokenizer
        backend.enable_truncation(length)
        backend.enable_padding(pad_id=found.pad_token_id, pad_token=found.pad_token, length=length)
        return cls(str(backend.to_str()))

    @cached_property
    def _tokenizer(self) -> "tokenizers.Tokenizer":
        from tokenizers import Tokenizer as Backend

        try:
            return Backend.from_str(self.document)
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError("a tokenizer is damaged", expected="its JSON", found=error) from error

    def tokens(self, text: str) -> tuple[int, ...]:
        """Of a text, cut and filled to the encoder's length."""
        return tuple(self._tokenizer.encode(text).ids)


def tokens_of(tokenizers: Sequence[Tokenizer], text: str) -> Tokens:
    """A text as each encoder reads it."""
    return tuple(tokenizer.tokens(text) for tokenizer in tokenizers)
