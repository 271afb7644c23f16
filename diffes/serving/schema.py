"""What `POST /generate` takes and gives."""

import secrets
from base64 import b64encode
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from diffes.engine.request import MAX_GUIDANCE, MAX_IMAGES, MAX_PREVIEWS, MAX_SEED, Request, Result, Timings
from diffes.errors import InvalidInput
from diffes.images import png
from diffes.serving import framing
from diffes.serving.bodies import Body, Name, between, shown
from diffes.sizes import Size
from diffes.wording import Wording

ImageFormat = Literal["png", "json"]
_RANDOM_SEEDS = 2**32  # small enough that a JSON number in any language gives it back exactly


def random_seed() -> int:
    """A seed for who gives none."""
    return secrets.randbelow(_RANDOM_SEEDS)


class GenerateBody(Body):
    """One request: what to make, and how the answer shall look."""

    label: Name | int | None = Field(default=None, description="Class name or id; this or `prompt`.")
    prompt: Annotated[str | None, Field(max_length=2000)] = Field(
        default=None,
        description="What to show; of a model that knows classes a text that names exactly one. This or `label`.",
    )
    negative_prompt: Annotated[str | None, Field(max_length=2000)] = Field(
        default=None, description="What not to show, of a model that reads texts."
    )
    n: int = Field(default=1, json_schema_extra=between(1, MAX_IMAGES), description="Images; image j has seed + j.")
    steps: int | None = Field(
        default=None, json_schema_extra=between(1, 1000), description="Denoising steps; default: the schedule's."
    )
    seed: int | None = Field(
        default=None, json_schema_extra=between(0, MAX_SEED), description="Seed of the noise; default: random."
    )
    guidance: float | None = Field(
        default=None, json_schema_extra=between(0, MAX_GUIDANCE), description="0 or 1: none; default: the schedule's."
    )
    size: Name | None = Field(default=None, description="WIDTHxHEIGHT, one of the bundle's; default: the model's own.")
    original_size: framing.OriginalSize = None
    crops_coords_top_left: framing.Crop = None
    target_size: framing.TargetSize = None
    negative_original_size: framing.OtherOriginalSize = None
    negative_crops_coords_top_left: framing.Crop = None
    negative_target_size: framing.OtherTargetSize = None
    schedule: Name | None = Field(default=None, description="One of the bundle's schedules; default: the bundle's.")
    timeout_s: float | None = Field(
        default=None,
        json_schema_extra={"exclusiveMinimum": 0},
        description="Seconds after which nobody wants the images; refused at once if they will not be done by then.",
    )
    deterministic: bool = Field(
        default=False, description="Share no step with others: bit-equal whatever else is served, and slower."
    )
    previews: int = Field(
        default=0,
        json_schema_extra=between(0, MAX_PREVIEWS),
        description="Previews of each image, where stages end; heard of in a stream.",
    )
    response: ImageFormat | None = Field(default=None, description="Default: what the Accept header asks for, or png.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.label is None) == (self.prompt is None):
            raise ValueError("exactly one of label and prompt")
        return self

    @classmethod
    def problem(cls, error: ValidationError, document: dict[str, Any]) -> InvalidInput:
        """A label and a prompt, or neither, are told as such."""
        first = error.errors()[0]
        if not first["loc"]:
            found = "both" if {"label", "prompt"} <= document.keys() else "neither"
            return InvalidInput("label", expected="exactly one of label and prompt", found=found)
        if first["loc"][0] == "label" and first["type"] != "extra_forbidden":
            return InvalidInput("label", expected="a class name or id", found=shown(first["input"]))
        return super().problem(error, document)

    def request(self, wording: Wording, request_id: str) -> Request:
        """What the engine is asked; InvalidInput for a label or prompt that means nothing to the model."""
        size = None if self.size is None else Size.read(self.size)
        return Request(
            prompt=wording.prompt(
                self.label, self.prompt, self.negative_prompt, size, framing.wanted(self), framing.unwanted(self)
            ),
            seed=random_seed() if self.seed is None else self.seed,
            images=self.n,
            steps=self.steps,
            guidance=self.guidance,
            schedule=self.schedule,
            size=size,
            timeout=self.timeout_s,
            deterministic=self.deterministic,
            previews=self.previews,
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

    @classmethod
    def of(cls, timings: Timings) -> Self:
        """As the engine tells them."""
        stages = [
            StageTimes(stage=s.stage, steps=s.steps, seconds=s.seconds, mean_batch=s.mean_batch) for s in timings.stages
        ]
        return cls(queue_seconds=timings.queue_seconds, total_seconds=timings.total_seconds, stages=stages)


class GenerateAnswer(BaseModel):
    """The JSON answer: base64 PNGs, and what makes them again."""

    id: str
    seed: int
    label: int | None = Field(default=None, description="Class id, of a model that knows classes.")
    prompt: str | None = Field(default=None, description="The text, of a model that reads texts.")
    negative_prompt: str | None = None
    size: str
    original_size: str | None = None
    crops_coords_top_left: tuple[int, int] | None = None
    target_size: str | None = None
    negative_original_size: str | None = None
    negative_crops_coords_top_left: tuple[int, int] | None = None
    negative_target_size: str | None = None
    schedule: str
    shed_from: str | None = Field(description="The default schedule, if a cheaper one stood in for it under load.")
    steps: int
    guidance: float
    bundle: str
    deterministic: bool
    images: list[str]
    timings: Times

    @classmethod
    def of(cls, result: Result, bundle: str) -> Self:
        """Encode a result."""
        request, timings = result.request, result.timings
        return cls(
            id=request.id,
            seed=request.seed,
            **dict[str, Any](request.prompt.said),
            size=str(request.size),
            schedule=request.schedule,
            shed_from=request.shed_from or None,
            steps=request.steps,
            guidance=request.guidance,
            bundle=bundle,
            deterministic=request.deterministic,
            images=[b64encode(png(image)).decode() for image in result.images],
            timings=Times.of(timings),
        )
