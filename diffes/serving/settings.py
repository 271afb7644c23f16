"""How a service is configured: environment variables, read once."""

from math import inf
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from diffes.backends import BACKENDS
from diffes.engine.policies import DEFAULT, POLICIES
from diffes.engine.request import Limits
from diffes.errors import InvalidInput
from diffes.serving.logs import LogFormat


class Settings(BaseSettings):
    """`DIFFES_BUNDLE` and friends. There is no default bundle: what is served is said, never guessed."""

    model_config = SettingsConfigDict(env_prefix="DIFFES_", frozen=True)

    bundle: Path
    backend: str = "onnxruntime"
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1)  # of the backend on a CPU; None: all cores
    max_batch: int | None = Field(default=None, ge=1)  # images in one step; None: what suits the device
    max_running: int = Field(default=Limits().running, ge=1)  # images between two steps
    max_queue: int = Field(default=Limits().queue, ge=1)  # requests that wait
    max_backlog: float = Field(default=inf, gt=0)  # seconds of work, by forecast, that may wait before one more request
    model: str = "diffes"  # what clients of the OpenAI API call it
    policy: str = DEFAULT  # whose step is next
    log: LogFormat = "text"  # how lines look

    @field_validator("backend", "policy")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        names = {"backend": BACKENDS, "policy": POLICIES}[str(info.field_name)]
        if name not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return name

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment; InvalidInput names the variable that is missing or wrong."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            variable = f"DIFFES_{str(first['loc'][0]).upper()}"
            missing = first["type"] == "missing"
            raise InvalidInput(
                variable,
                expected="a bundle folder" if missing else _expected(first["msg"]),
                found="nothing" if missing else repr(first["input"]),
                remedy=f"Set {variable}; `diffes export` writes bundles." if missing else "",
            ) from error

    @property
    def limits(self) -> Limits:
        """What the engine may take on."""
        batch = self.max_batch or (_CPU_BATCH if self.device == "cpu" else _ACCELERATOR_BATCH)
        return Limits(batch=batch, running=self.max_running, queue=self.max_queue, backlog=self.max_backlog)


# What is largest; how many go together is decided by what steps cost. On 2 busy cores a row of the bundled model's step
# costs 0.65 of its price at 2 rows when 8 go together, and no less when 16 do.
_CPU_BATCH = 4
_ACCELERATOR_BATCH = 32


def _expected(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input should be ")
