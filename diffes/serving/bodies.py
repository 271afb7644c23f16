"""Request bodies: JSON objects of known keys and types, refused by the first thing that is wrong with them."""

import json
from typing import Any, NoReturn, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from diffes.errors import DiffesError, InvalidInput


class MalformedBody(DiffesError):
    """A request body that is no JSON object."""


class Body(BaseModel):
    """A JSON object whose keys are all known and whose values are of the types they should be."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Decode and check types; MalformedBody for what is no JSON object, InvalidInput for the first wrong field."""
        try:
            document = json.loads(body, parse_constant=_no_constant)
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


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
