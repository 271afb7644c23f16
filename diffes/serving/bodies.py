"""Request bodies: JSON objects of known keys and types, refused by the first thing that is wrong with them."""

import json
from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Any, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffes.errors import DiffesError, InvalidInput

Name = Annotated[str, Field(max_length=200)]  # of a class, a schedule or a model: short enough to be quoted back
_DIGITS = 40  # of an integer: more than any field takes, and short enough to be quoted back


class MalformedBody(DiffesError):
    """A request body that is no JSON object."""


class Body(BaseModel):
    """A JSON object whose keys are all known and whose values are of the types they should be."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Decode and check types; MalformedBody for what is no JSON object, InvalidInput for the first wrong field."""
        try:
            document = _document(body)
        except (ValueError, RecursionError) as error:
            raise MalformedBody("malformed JSON", expected="a JSON object", found=str(error)[:200]) from error
        if not isinstance(document, dict):
            raise MalformedBody("malformed JSON", expected="a JSON object", found=type(document).__name__)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise cls.problem(error, document) from error

    @classmethod
    def problem(cls, error: ValidationError, document: dict[str, Any]) -> InvalidInput:  # noqa: ARG003
        """The first wrong field, in our words; `document` is what came."""
        first = error.errors()[0]
        field = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            return InvalidInput(field, expected=f"one of {', '.join(cls.model_fields)}", found="an unknown key")
        if first["type"] == "missing":
            return InvalidInput(field, expected="a value", found="nothing")
        message = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        return InvalidInput(field, expected=message, found=shown(first["input"]))


def between(low: float, high: float) -> dict[str, Any]:
    """Bounds for the API's description; the engine, which owns them, checks them."""
    return {"minimum": low, "maximum": high}


def shown(value: object) -> str:
    """A value as JSON, cut where it gets long."""
    return json.dumps(value)[:200]


def _document(body: bytes) -> Any:
    """What a body says; ValueError for what RFC 8259 leaves open or forbids and parsers read in different ways."""
    document = json.loads(
        body.decode(),
        parse_constant=_no_constant,
        parse_float=_finite,
        parse_int=_short,
        object_pairs_hook=_no_key_twice,
    )
    json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate is no text, and could not be quoted back
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    if not isfinite(value := float(digits)):
        raise ValueError(f"{digits[:40]} is beyond a double")
    return value


def _short(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _no_key_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("the same key twice")
    return document
