"""What a client and a Triton server of Diffes tell each other. One model answers every operation, so that all stages
share one process and with it one blob.
"""

import json
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from diffes.documents import validated
from diffes.errors import BackendError

PROTOCOL = 1
MODEL = "diffes"  # the model's name in a repository
BUNDLE_FOLDER = "bundle"  # in the version's folder

# inputs that are text, sent as uint8: Triton's own text type ends a server whose bindings are older than its numpy
OPERATION = "operation"
BUNDLE = "bundle"  # the client's: a server restarted on another bundle refuses the call
SUBGRAPH = "subgraph"
TEXTS = (OPERATION, BUNDLE, SUBGRAPH)

# operations
DESCRIBE = "describe"
ENCODE = "encode"
CONDITION = "condition"
DENOISE = "denoise"
DECODE = "decode"
OPERATIONS = (DESCRIBE, ENCODE, CONDITION, DENOISE, DECODE)

DESCRIPTION = "description"  # the output of `describe`: JSON, as text is sent
PREDICTION = "prediction"  # the output of `denoise`, like latents
IMAGES = "images"  # the output of `decode`


def encode(text: str) -> Tensor:
    """Text as it travels: its UTF-8 bytes."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def decode(content: Tensor) -> str:
    """Text as it arrived."""
    return bytes(content.tolist()).decode(errors="replace")


class Description(BaseModel):
    """What a server runs. `bundle` is the SHA-256 of its manifest, which holds the hashes of all its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: int
    bundle: str
    backend: str
    device: str
    max_rows: int = Field(ge=1)  # of one call
    diffes: str

    @classmethod
    def parse(cls, text: str, server: str) -> Self:
        """What `server` says in JSON; BackendError if it is another version of Diffes."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise BackendError(
                f"{server} does not speak as Diffes does", expected="a description in JSON", found=repr(text[:80])
            ) from error
        found = document.get("protocol") if isinstance(document, dict) else None
        if found != PROTOCOL:
            raise BackendError(
                f"{server} runs another version of Diffes",
                expected=f"protocol {PROTOCOL}",
                found=f"protocol {found!r}",
                remedy="Install the same version on both sides.",
            )
        return validated(cls, document, f"the description of {server}", BackendError)
