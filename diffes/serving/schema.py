"""What `POST /generate` takes and gives."""

import json
import secrets
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from diffes.engine.request import MAX_GUIDANCE, MAX_IMAGES, MAX_SEED, Request, Result
from diffes.errors import DiffesError, InvalidInput
from diffes.images import png
from diffes.labels import label_in, label_of

ImageFormat = Literal["png", "json"]
_RANDOM_SEEDS = 2**32  # small enough that a JSON number in any language gives it back exactly


class MalformedBody(DiffesError):
    """A request body that is no JSON object."""


def _between(low: float, high: float) -> dict[str, Any]:
    """Bounds for the API's description; the engine, which owns them, checks them."""
    return {"minimum": low, "maximum": high}


class GenerateBody(BaseModel):
    """One request: what to make, and how the answer shall look."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    label: str | int | None = Field(default=None, description="Class name or id; this or `prompt`.")
    prompt: Annotated[str | None, Field(max_length=2000)] = Field(
        default=None, description="Text that names exactly one class; this or `label`."
    )
    n: int = Field(default=1, json_schema_extra=_between(1, MAX_IMAGES), description="Images; image j has seed + j.")
    steps: int | None = Field(
        default=None, json_schema_extra=_between(1, 1000), description="Denoising steps; default: the schedule's."
    )
    seed: int | None = Field(
        default=None, json_schema_extra=_between(0, MAX_SEED), description="Seed of the noise; default: random."
    )
    guidance: float | None = Field(
        default=None, json_schema_extra=_between(1, MAX_GUIDANCE), description="Guidance; default: the schedule's."
    )
    schedule: str | None = Field(default=None, description="One of the bundle's schedules; default: the bundle's.")
    response: ImageFormat | None = Field(default=None, description="Default: what the Accept header asks for, or png.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.label is None) == (self.prompt is None):
            raise ValueError("exactly one of label and prompt")
        return self

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
            raise _first_problem(error, document) from error

    def request(self, labels: Sequence[str], request_id: str) -> Request:
        """What the engine is asked; InvalidInput for a label or prompt that means no class."""
        label = label_of(self.label, labels) if self.label is not None else label_in(self.prompt or "", labels)
        return Request(
            label=label,
            seed=secrets.randbelow(_RANDOM_SEEDS) if self.seed is None else self.seed,
            images=self.n,
            steps=self.steps,
            guidance=self.guidance,
            schedule=self.schedule,
            id=request_id,
        )


class StageTimes(BaseModel):
    """One stage of one request."""

    stage: int
    steps: int
    seconds: float
    mean_batch: float


class Times(BaseModel):
    """Where a request's time went, seconds."""

    queue_seconds: float
    total_seconds: float
    stages: list[StageTimes]


class GenerateAnswer(BaseModel):
    """The JSON answer: base64 PNGs, and what makes them again."""

    id: str
    seed: int
    label: int
    schedule: str
    steps: int
    guidance: float
    bundle: str
    images: list[str]
    timings: Times

    @classmethod
    def of(cls, result: Result, bundle: str) -> Self:
        """Encode a result."""
        request, timings = result.request, result.timings
        return cls(
            id=request.id,
            seed=request.seed,
            label=request.label,
            schedule=request.schedule,
            steps=request.steps,
            guidance=request.guidance,
            bundle=bundle,
            images=[b64encode(png(image)).decode() for image in result.images],
            timings=Times(
                queue_seconds=timings.queue_seconds,
                total_seconds=timings.total_seconds,
                stages=[
                    StageTimes(stage=s.stage, steps=s.steps, seconds=s.seconds, mean_batch=s.mean_batch)
                    for s in timings.stages
                ],
            ),
        )


def _first_problem(error: ValidationError, document: dict[str, Any]) -> InvalidInput:
    first = error.errors()[0]
    if not first["loc"]:
        found = "both" if {"label", "prompt"} <= document.keys() else "neither"
        return InvalidInput("label", expected="exactly one of label and prompt", found=found)
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return InvalidInput(field, expected=f"one of {', '.join(GenerateBody.model_fields)}", found="an unknown key")
    if field == "label":
        return InvalidInput(field, expected="a class name or id", found=_shown(first["input"]))
    return InvalidInput(field, expected=first["msg"].removeprefix("Input should be "), found=_shown(first["input"]))


def _shown(value: object) -> str:
    return json.dumps(value)[:200]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
