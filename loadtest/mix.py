"""What requests ask for, drawn from a seed: schedules, steps, images; some stream, some callers leave."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffes.engine.request import MAX_GUIDANCE, MAX_IMAGES, MAX_PREVIEWS, MAX_SEED

DEFAULT: Literal["default"] = "default"  # the schedule or number of steps that the service would take by itself

Kind = TypeVar("Kind", bound=Hashable)
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Moment = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Steps = Annotated[int, Field(ge=1)]
Images = Annotated[int, Field(ge=1, le=MAX_IMAGES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: its class by number, or the text of that number, and what else it names; None: the service's."""

    label: int
    seed: int
    text: str | None = None
    images: int = 1
    steps: int | None = None
    schedule: str | None = None
    size: str | None = None
    guidance: float | None = None
    timeout: float | None = None  # seconds
    stream: bool = False
    previews: int = 0
    leaves: float | None = None  # seconds after which its caller hangs up
    deterministic: bool = False

    def body(self) -> dict[str, Any]:
        """As `POST /generate` takes it; images come in JSON, with where the time went."""
        subject = {"label": self.label} if self.text is None else {"prompt": self.text}
        told: dict[str, Any] = {**subject, "seed": self.seed, "response": "json"}
        told |= {"n": self.images} if self.images > 1 else {}
        told |= {"previews": self.previews} if self.previews else {}
        told |= {"deterministic": True} if self.deterministic else {}
        named: dict[str, Any] = {"steps": self.steps, "schedule": self.schedule, "size": self.size}
        named |= {"guidance": self.guidance, "timeout_s": self.timeout}
        return told | {name: value for name, value in named.items() if value is not None}


class Mix(BaseModel):
    """Weights of what is drawn for every request. Times are in the scenario's unit.

    With `seeds`, so many different seeds are asked for, each always with the same label: few enough that every image
    can be compared with what it has to be. Without, every request has a seed of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: Annotated[int, Field(ge=1)] | None = None
    schedules: Annotated[dict[str, Weight], Field(min_length=1)] = {DEFAULT: 1.0}
    steps: Annotated[dict[Steps | Literal["default"], Weight], Field(min_length=1)] = {DEFAULT: 1.0}
    images: Annotated[dict[Images, Weight], Field(min_length=1)] = {1: 1.0}
    sizes: Annotated[dict[str, Weight], Field(min_length=1)] = {DEFAULT: 1.0}
    guidance: Annotated[float, Field(ge=1, le=MAX_GUIDANCE)] | None = None
    stream: Share = 0.0
    previews: Annotated[int, Field(ge=0, le=MAX_PREVIEWS)] = 0  # of those that stream
    leave: Share = 0.0
    leave_after: tuple[Moment, Moment] = (0.0, 1.0)  # drawn between the two
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    deterministic: bool = False

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.leave_after[0] > self.leave_after[1]:
            raise ValueError("the earlier moment of `leave_after` first")
        return self

    def scaled(self, unit: float) -> Self:
        """Times in seconds, of which the unit has so many."""
        timeout = None if self.timeout is None else self.timeout * unit
        low, high = self.leave_after
        return self.model_copy(update={"timeout": timeout, "leave_after": (low * unit, high * unit)})

    def draw(self, rng: Random, labels: int, texts: Sequence[str] = ()) -> Asked:
        """The next request, of one of so many labels or of the texts."""
        subject = Random(rng.randrange(self.seeds)) if self.seeds else rng
        label, seed = subject.randrange(len(texts) or labels), subject.randrange(MAX_SEED - MAX_IMAGES)
        schedule, steps = _drawn(rng, self.schedules), _drawn(rng, self.steps)
        images = _drawn(rng, self.images)
        stream = rng.random() < self.stream
        leaves = rng.uniform(*self.leave_after) if rng.random() < self.leave else None
        size = _drawn(rng, self.sizes) if len(self.sizes) > 1 else next(iter(self.sizes))
        return Asked(
            label=label,
            text=texts[label] if texts else None,
            seed=seed,
            images=images,
            steps=None if steps == DEFAULT else int(steps),
            schedule=None if schedule == DEFAULT else schedule,
            size=None if size == DEFAULT else size,
            guidance=self.guidance,
            timeout=self.timeout,
            stream=stream,
            previews=self.previews if stream else 0,
            leaves=leaves,
            deterministic=self.deterministic,
        )


def _drawn(rng: Random, weights: Mapping[Kind, float]) -> Kind:
    return rng.choices(list(weights), list(weights.values()))[0]
