"""How a service is configured: environment variables and a file, read once."""

from math import inf
from pathlib import Path
from typing import Annotated, Self

import torch
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from diffes.backends import BACKENDS
from diffes.bundle import Bundle
from diffes.engine.policies import DEFAULT, POLICIES
from diffes.engine.request import Limits
from diffes.engine.shedding import Shedding
from diffes.errors import InvalidInput
from diffes.serving.config import PREFIX, ConfigFile, config_file, require_known_variables
from diffes.serving.keys import Keys
from diffes.serving.logs import LogFormat


def _gpus_if_auto(value: object) -> object:
    if value != "auto":
        return value
    if not (gpus := torch.cuda.device_count()):
        raise ValueError("a number where no GPU is visible")
    return gpus


class WorkerSettings(BaseSettings):
    """What is asked before there is a service: in how many processes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    workers: Annotated[int, BeforeValidator(_gpus_if_auto)] = Field(default=1, ge=1)  # auto: one per visible GPU

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, the environment, the file, in this order."""
        file = config_file()
        told = () if file is None else (ConfigFile(settings_cls, file, Settings.model_fields),)
        return (init_settings, env_settings, *told)

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment and the file; InvalidInput names what is missing, wrong or unknown."""
        require_known_variables(Settings.model_fields)
        try:
            return cls()
        except ValidationError as error:
            raise _problem(error) from error


class Settings(WorkerSettings):
    """`DIFFES_BUNDLE` and friends. There is no default bundle: what is served is said, never guessed."""

    bundle: Path
    backend: str = "onnxruntime"
    device: str = "cpu"  # cuda with several workers: each its own GPU
    threads: int | None = Field(default=None, ge=1)  # of the backend on a CPU, in each worker; None: all cores
    max_batch: int | None = Field(default=None, ge=1)  # images in one step; None: what suits the device
    max_running: int = Field(default=Limits().running, ge=1)  # images between two steps
    max_queue: int = Field(default=Limits().queue, ge=1)  # requests that wait
    max_backlog: float = Field(default=inf, gt=0)  # seconds of work, by forecast, that may wait before one more request
    shed_to: str | None = None  # schedule of who names none while more than `shed_above` seconds of work wait
    shed_above: float | None = Field(default=None, gt=0)
    model: str = "diffes"  # what clients of the OpenAI API call it
    policy: str = DEFAULT  # whose step is next
    api_keys: SecretStr | None = None  # name:key or key, between commas; None and no file: nobody is asked for one
    api_keys_file: Path | None = None  # the same, one a line
    drain_seconds: float = Field(default=30.0, ge=0)  # that requests inside get to be done, once the service shall end
    stall_seconds: float = Field(default=300.0, gt=0)  # of one turn of the engine; after them a worker ends itself
    log: LogFormat = "text"  # how lines look

    @field_validator("backend", "policy")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        names = {"backend": BACKENDS, "policy": POLICIES}[str(info.field_name)]
        if name not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return name

    @property
    def limits(self) -> Limits:
        """What the engine may take on."""
        batch = self.max_batch or (_CPU_BATCH if self.device == "cpu" else _ACCELERATOR_BATCH)
        return Limits(
            batch=batch,
            running=self.max_running,
            queue=self.max_queue,
            backlog=self.max_backlog,
            shedding=self.shedding,
        )

    @property
    def keys(self) -> Keys:
        """The API keys; InvalidInput for a malformed one, or if they are told in two places."""
        if self.api_keys is not None and self.api_keys_file is not None:
            found = "both"
            raise InvalidInput("API keys", expected=f"one of {PREFIX}API_KEYS and {PREFIX}API_KEYS_FILE", found=found)
        if self.api_keys_file is not None:
            return Keys.read(self.api_keys_file, f"{PREFIX}API_KEYS_FILE")
        if self.api_keys is not None:
            return Keys.of(self.api_keys.get_secret_value().split(","), f"{PREFIX}API_KEYS")
        return Keys()

    @property
    def shedding(self) -> Shedding | None:
        """What stands in for the default schedule, and when; InvalidInput if only one of the two is said."""
        if self.shed_to is not None and self.shed_above is not None:
            return Shedding(self.shed_to, self.shed_above)
        if self.shed_to is not None or self.shed_above is not None:
            lacking = f"{PREFIX}SHED_ABOVE" if self.shed_above is None else f"{PREFIX}SHED_TO"
            raise InvalidInput(lacking, expected="a value, since the other of the two has one", found="nothing")
        return None

    def on_worker(self, worker: int) -> Self:
        """What worker 1, 2, ... does: several on `cuda` have a GPU each."""
        alone = self.device != "cuda" or self.workers == 1
        return self if alone else self.model_copy(update={"device": f"cuda:{worker - 1}"})

    def require_sound(self, bundle: Bundle) -> None:
        """InvalidInput for what no single value tells: keys, a schedule that sheds nothing, more workers than GPUs."""
        if self.shedding is not None:
            self.shedding.require_cheaper(bundle)
        assert self.keys is not None
        if self.device == "cuda" and self.workers > (gpus := torch.cuda.device_count()) > 0:
            found = f"{self.workers} on DIFFES_DEVICE=cuda"
            raise InvalidInput(f"{PREFIX}WORKERS", expected=f"at most {gpus}, one per visible GPU", found=found)


# What is largest; how many go together is decided by what steps cost. On 2 busy cores a row of the bundled model's step
# costs 0.65 of its price at 2 rows when 8 go together, and no less when 16 do.
_CPU_BATCH = 4
_ACCELERATOR_BATCH = 32


def _problem(error: ValidationError) -> InvalidInput:
    """The first wrong setting, by its variable."""
    first = error.errors()[0]
    field = str(first["loc"][0])
    variable = f"{PREFIX}{field.upper()}"
    if first["type"] == "missing":
        remedy = f"Set {variable}; `diffes export` writes bundles."
        return InvalidInput(variable, expected="a bundle folder", found="nothing", remedy=remedy)
    found = "something else" if field == "api_keys" else repr(first["input"])
    return InvalidInput(variable, expected=_expected(first["msg"]), found=found)


def _expected(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input should be ")
