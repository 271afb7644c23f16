"""Decoded JSON as typed documents: every file that is wrong says so in the same words."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from diffes.errors import DiffesError

Document = TypeVar("Document", bound=BaseModel)


def validated(
    kind: type[Document],
    document: Any,
    name: str,
    error: type[DiffesError],
    *,
    top: str = "the top",
    remedy: str = "",
) -> Document:
    """The decoded `document` as `kind`; `error` says which entry of `name` is wrong (`top`: the whole of it)."""
    try:
        return kind.model_validate(document)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or top
        raise error(
            f"{name} is malformed at {where}",
            expected=first["msg"],
            found=repr(first["input"])[:200],
            remedy=remedy,
        ) from wrong


def require_format(document: Any, name: str, error: type[DiffesError], *, remedy: str) -> None:
    """`error` unless the decoded `document` of `name` is of format 1."""
    found = document.get("format") if isinstance(document, dict) else None
    if found != 1:
        raise error(f"{name} has an unknown format", expected="format 1", found=f"format {found!r}", remedy=remedy)
