"""Every request of one run, decided before it begins: the same plan gives the same requests at the same times."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Self

from pydantic import BaseModel, ConfigDict

from diffes.files import write_text_atomically
from loadtest.arrivals import Arrivals, Closed
from loadtest.mix import Asked, Mix


@dataclass(frozen=True, slots=True)
class Call:
    """The request of this number, due `at` seconds after the start; in a closed loop whenever a user is free."""

    number: int
    at: float
    asked: Asked


class Plan(BaseModel):
    """What one run sends, all in seconds. `id` is the beginning of what its requests are called by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    seed: int
    arrivals: Arrivals
    seconds: float
    requests: int | None = None  # at most
    mix: Mix
    labels: int  # how many the service knows
    texts: tuple[str, ...] = ()  # that it is asked for, if it reads them
    patience: float  # seconds that an answer is waited for

    def calls(self) -> Iterator[Call]:
        """In their order; without an end where the loop is closed."""
        rng = Random(f"asked/{self.seed}")
        calls = (
            Call(number, at, self.mix.draw(rng, self.labels, self.texts)) for number, at in enumerate(self._times())
        )
        return islice(calls, self.requests)

    def name(self, number: int) -> str:
        """What a request is called where both sides tell of it."""
        return f"{self.id}-{number}"

    def save(self, path: Path) -> None:
        """As JSON."""
        write_text_atomically(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def _times(self) -> Iterator[float]:
        if isinstance(self.arrivals, Closed):
            return (0.0 for _ in count())
        return self.arrivals.times(self.seconds, Random(f"arrivals/{self.seed}"))
