"""What both peers are besides HTTP: settings, what is asked and answered, and the one model that makes the images."""

from base64 import b64encode
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from time import perf_counter
from typing import Annotated, Any, Literal
from uuid import uuid4

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, DirectoryPath, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from loadtest.peers.pipeline import Pipeline, class_of, labels_of

_MAX_SEED = 2**32 - 1
_MAX_IMAGES = 16

Guidance = Annotated[float, Field(ge=1, le=20)]


class Settings(BaseSettings):
    """From environment variables: PEER_MODEL, PEER_DEVICE and so on. Steps and guidance are of who names none."""

    model_config = SettingsConfigDict(env_prefix="PEER_", frozen=True)

    model: DirectoryPath
    device: str = "cpu"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    threads: Annotated[int, Field(ge=1)] | None = None  # torch's, of one call; None: what torch takes
    compiled: bool = False
    steps: Annotated[int, Field(ge=1)] = 20
    guidance: Guidance = 1.5


class Asked(BaseModel):
    """The body of `POST /generate`. What a peer cannot do, such as previews, is an unknown key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, le=_MAX_SEED - _MAX_IMAGES + 1)]
    n: Annotated[int, Field(ge=1, le=_MAX_IMAGES)] = 1
    steps: Annotated[int, Field(ge=1)] | None = None
    guidance: Guidance | None = None
    schedule: Literal["dense"] | None = None
    deterministic: bool = False
    response: Literal["json"] = "json"


class Times(BaseModel):
    """Seconds since the handler began: until the model was free, and until the answer was made."""

    queue_seconds: float
    total_seconds: float
    stages: list[None] = []


class Answer(BaseModel):
    """As a Diffes service answers."""

    id: str
    seed: int
    label: int
    prompt: None = None
    negative_prompt: None = None
    size: str
    original_size: None = None
    crops_coords_top_left: None = None
    target_size: None = None
    negative_original_size: None = None
    negative_crops_coords_top_left: None = None
    negative_target_size: None = None
    schedule: str = "dense"
    shed_from: None = None
    steps: int
    guidance: float
    bundle: str
    deterministic: bool = True
    images: list[str]
    timings: Times


class Refused(ValueError):
    """A request that this model cannot serve."""


class Peer:
    """One model in a thread of its own, that requests wait for: one image is made at a time.

    The thread stands where one would otherwise put a lock. What torch.compile records is of one thread.
    """

    def __init__(self, settings: Settings) -> None:
        """Begins to open the model; `opened` is done once it is, and warmed up by one image."""
        self._settings = settings
        self._labels = labels_of(settings.model)
        self._thread = ThreadPoolExecutor(1)
        self.opened: Future[Pipeline] = self._thread.submit(_open, settings)

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""
        return self.opened.done() and self.opened.exception() is None

    def close(self) -> None:
        """Drop whoever waits; the image under way is finished."""
        self._thread.shutdown(cancel_futures=True)

    def info(self) -> dict[str, Any]:
        """What can be asked for."""
        return {
            "labels": self._labels,
            "schedules": {"dense": {"steps": self._settings.steps, "guidance": self._settings.guidance}},
            "default": "dense",
            "model": class_of(self._settings.model),
            "backend": "diffusers",
        }

    def generate(self, asked: Asked) -> Answer:
        """Wait for the model, make the images one after another; Refused for a label or steps that it does not have."""
        began = perf_counter()
        pipeline = self.opened.result()
        steps = self._settings.steps if asked.steps is None else asked.steps
        guidance = self._settings.guidance if asked.guidance is None else asked.guidance
        _within("label", asked.label, len(self._labels) - 1)
        _within("steps", steps, pipeline.most_steps)

        def make() -> tuple[float, list[Image.Image]]:
            free = perf_counter()
            return free, [pipeline.image(asked.label, asked.seed + j, steps, guidance) for j in range(asked.n)]

        free, images = self._thread.submit(make).result()
        encoded = [_encoded(image) for image in images]
        return Answer(
            id=f"img-{uuid4().hex}",
            seed=asked.seed,
            label=asked.label,
            size=f"{images[0].width}x{images[0].height}",
            steps=steps,
            guidance=guidance,
            bundle=self._settings.model.name,
            images=encoded,
            timings=Times(queue_seconds=free - began, total_seconds=perf_counter() - began),
        )


def _open(settings: Settings) -> Pipeline:
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    pipeline = Pipeline(settings.model, settings.device, settings.dtype, compiled=settings.compiled)
    pipeline.image(0, 0, settings.steps, settings.guidance)
    return pipeline


def _within(field: str, value: int, most: int) -> None:
    if value > most:
        raise Refused(f"{field}: expected at most {most}, found {value}")


def _encoded(image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return b64encode(buffer.getvalue()).decode()
