"""What a test keeps of itself, so that it can be gone on with after it was killed."""

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from diffes.documents import validated
from diffes.errors import LoadTestError
from diffes.files import write_text_atomically
from loadtest.scenario import Scenario

FILE = "state.json"
_SAME = ("scenario", "contenders", "seed")


class State(BaseModel):
    """What was asked; `id` begins the names of all requests, `unit` is seconds once it is measured."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    scenario: Scenario
    contenders: list[str]
    seed: int
    id: str
    began: str  # RFC 3339
    unit: float | None = None

    @classmethod
    def opened(cls, folder: Path, scenario: Scenario, contenders: Sequence[str], seed: int) -> Self:
        """Of the test that was begun in this folder, or of a new one; LoadTestError if another was begun there."""
        new = cls(
            scenario=scenario,
            contenders=list(contenders),
            seed=seed,
            id=f"lt-{secrets.token_hex(4)}",
            began=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if not (path := folder / FILE).exists():
            new.save(folder)
            return new
        known = cls._read(path)
        if any(getattr(known, name) != getattr(new, name) for name in _SAME):
            remedy = "Give another folder by --out, or ask for the same as there."
            found = f"another, begun {known.began}"
            raise LoadTestError(f"{folder} is taken", expected="no test or this one", found=found, remedy=remedy)
        return known

    @classmethod
    def _read(cls, path: Path) -> Self:
        remedy = "Give another folder by --out."
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            found = str(error)
            raise LoadTestError(f"{path} cannot be read", expected="JSON", found=found, remedy=remedy) from error
        return validated(cls, document, str(path), LoadTestError, remedy=remedy)

    def measured(self, folder: Path, unit: float) -> Self:
        """With its unit, saved."""
        known = self.model_copy(update={"unit": unit})
        known.save(folder)
        return known

    def save(self, folder: Path) -> None:
        """Into the test's folder."""
        write_text_atomically(folder / FILE, self.model_dump_json(indent=1) + "\n")
