"""What a calibration is asked for. Schedules carry it, so that an export prunes by what was searched on."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any, Final, Literal

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError

from diffes.errors import CheckpointError, InvalidInput
from diffes.pruning.mode import OrderingKind
from diffes.schedule import Sampler

AUTO: Final = "auto"


@dataclass(frozen=True)
class CalibrationSpec:
    """What to look at: `images` samples of the dense model's inputs under `sampler`.

    source trajectories: what the model meets when it samples from noise, labels in turn. source data: images of a
    folder, noised at the sampler's own timesteps; `data` is then the digest of the images looked at. `texts` is that of
    the texts which a model that reads them was given. `damping` is a share of the mean variance, or auto: chosen per
    layer by held-out error. `ordering` says which of the orderings is used; it alone may change without looking again.
    """

    sampler: Sampler
    images: int = 64
    batch: int = 32
    token_share: float = 0.25
    damping: float | Literal["auto"] = AUTO
    seed: int = 0
    ordering: OrderingKind = "obs"
    source: Literal["trajectories", "data"] = "trajectories"
    data: str = ""
    texts: str = ""

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        for name in ("images", "batch"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"calibration {name}", expected="1 or more", found=getattr(self, name))
        if not 0 < self.token_share <= 1:
            raise InvalidInput("calibration token_share", expected="more than 0, at most 1", found=self.token_share)
        if self.damping == AUTO:
            if self.images < 2:
                raise InvalidInput(
                    "calibration images",
                    expected="2 or more, to hold some out for damping auto",
                    found=self.images,
                    remedy="Give more images, or a damping.",
                )
        elif not (isinstance(self.damping, int | float) and 0 < self.damping < inf):
            raise InvalidInput("calibration damping", expected="auto or more than 0", found=self.damping)
        if (self.source == "data") != bool(self.data):
            raise InvalidInput("calibration data", expected="a digest if, and only if, source is data", found=self.data)

    def to_json(self) -> dict[str, JsonValue]:
        """Plain JSON."""
        document = {**asdict(replace(self, sampler=None)), "sampler": self.sampler.model_dump(by_alias=True)}  # type: ignore[arg-type]
        if not self.texts:  # as it was before there were any
            del document["texts"]
        return document

    @classmethod
    def from_json(cls, document: Any) -> "CalibrationSpec":
        """What `to_json` wrote; CheckpointError for anything else."""
        try:
            return _SPEC.validate_python(document)
        except ValidationError as error:
            first = error.errors()[0]
            raise CheckpointError(
                "calibration spec is malformed", expected=first["msg"], found=repr(first["input"])[:200]
            ) from error

    def digest(self, fingerprint: str) -> str:
        """Names the calibrations of that model that share their moments (all but `ordering` counts); 16 hex digits."""
        seen = {name: value for name, value in self.to_json().items() if name != "ordering"}
        text = json.dumps([4, fingerprint, seen], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_SPEC = TypeAdapter(CalibrationSpec)


def read_damping(text: str) -> float | Literal["auto"]:
    """`auto` or a number, as the command line gives it; InvalidInput for anything else."""
    if text == AUTO:
        return AUTO
    try:
        return float(text)
    except ValueError:
        raise InvalidInput("damping", expected="auto or a share of the mean variance", found=text) from None
