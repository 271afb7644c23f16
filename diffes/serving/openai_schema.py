"""What `POST /v1/images/generations` takes: the OpenAI Images API's fields, and ours beside them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from diffes.engine.request import MAX_GUIDANCE, MAX_IMAGES, MAX_SEED, Request
from diffes.errors import InvalidInput
from diffes.images import Format
from diffes.serving import framing
from diffes.serving.bodies import Body, Name, between
from diffes.serving.schema import random_seed
from diffes.sizes import Size
from diffes.wording import Wording


class ImagesBody(Body):
    """A request as OpenAI's clients send it. What cannot be honoured is refused, never ignored.

    Fields that only say who asks (`user`, `safety_identifier`) or how to moderate have no effect here, as documented.
    """

    prompt: Annotated[str, Field(max_length=2000)] = Field(
        description="What to show; of a model that knows classes a text that names exactly one."
    )
    model: Name | None = Field(default=None, description="An id of GET /v1/models: the model, or model@schedule.")
    n: int = Field(default=1, json_schema_extra=between(1, MAX_IMAGES), description="Images; image j has seed + j.")
    size: Name | None = Field(default=None, description='"auto", or WIDTHxHEIGHT, one of the bundle\'s.')
    quality: Literal["auto", "standard"] | None = Field(default=None, description="Choose a schedule by `model`.")
    style: None = Field(default=None, description="Not supported.")
    response_format: Literal["b64_json", "url"] | None = Field(
        default=None, description="b64_json if not given; url gives a data: URL."
    )
    output_format: Format = Field(default="png")
    output_compression: int | None = Field(
        default=None, ge=0, le=100, description="Quality of jpeg and webp, in percent."
    )
    background: Literal["auto", "opaque"] | None = Field(default=None)
    moderation: Literal["auto", "low"] | None = Field(default=None, description="No effect: nothing is moderated.")
    user: str | None = Field(default=None, description="No effect.")
    safety_identifier: str | None = Field(default=None, description="No effect.")
    stream: bool = Field(default=False, description="Server-sent events instead of one answer.")
    partial_images: int = Field(default=0, ge=0, le=3, description="Of a stream: images on the way, where stages end.")
    class_label: Name | int | None = Field(default=None, description="Ours: class name or id, instead of the prompt's.")
    negative_prompt: Annotated[str | None, Field(max_length=2000)] = Field(
        default=None, description="Ours: what not to show, of a model that reads texts."
    )
    original_size: framing.OriginalSize = None
    crops_coords_top_left: framing.Crop = None
    target_size: framing.TargetSize = None
    negative_original_size: framing.OtherOriginalSize = None
    negative_crops_coords_top_left: framing.Crop = None
    negative_target_size: framing.OtherTargetSize = None
    seed: int | None = Field(default=None, json_schema_extra=between(0, MAX_SEED), description="Ours: of the noise.")
    steps: int | None = Field(default=None, json_schema_extra=between(1, 1000), description="Ours: denoising steps.")
    guidance: float | None = Field(default=None, json_schema_extra=between(0, MAX_GUIDANCE), description="Ours.")
    timeout_s: float | None = Field(default=None, json_schema_extra={"exclusiveMinimum": 0}, description="Ours.")
    deterministic: bool = Field(default=False, description="Ours: share no step with others.")

    @model_validator(mode="after")
    def _one_stream_one_image(self) -> Self:
        if self.stream and self.n != 1:
            raise InvalidInput("n", expected="1 in a stream", found=self.n)
        if self.partial_images and not self.stream:
            raise InvalidInput("partial_images", expected="0 without stream", found=self.partial_images)
        if self.output_compression is not None and self.output_format == "png":
            raise InvalidInput("output_compression", expected="nothing for png", found=self.output_compression)
        return self

    def request(self, wording: Wording, schedule: str | None, request_id: str) -> Request:
        """What the engine is asked; InvalidInput for a prompt or label that means nothing to the model."""
        size = None if self.size in (None, "auto") else Size.read(self.size)
        return Request(
            prompt=wording.prompt(
                self.class_label, self.prompt, self.negative_prompt, size, framing.wanted(self), framing.unwanted(self)
            ),
            seed=random_seed() if self.seed is None else self.seed,
            images=self.n,
            steps=self.steps,
            guidance=self.guidance,
            schedule=schedule,
            size=size,
            timeout=self.timeout_s,
            deterministic=self.deterministic,
            previews=self.partial_images,
            id=request_id,
        )
