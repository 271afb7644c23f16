"""How outputs make up for what was removed: the compensation mode as text and as a value."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator

from diffes.errors import InvalidInput

CompensationKind = Literal["none", "bias", "low-rank", "full"]
OrderingKind = Literal["obs", "energy", "variance"]

MODES = "none, bias, low-rank:RANK or full"

# what is measured to lose least under each kind: see diffes/pruning/ordering.py
_ORDERINGS: dict[CompensationKind, OrderingKind] = {
    "none": "energy",
    "bias": "variance",
    "low-rank": "obs",
    "full": "obs",
}


_PLAIN: dict[str, CompensationKind] = {"none": "none", "bias": "bias", "full": "full"}


@dataclass(frozen=True, slots=True)
class Compensation:
    """A compensation mode; `rank` is 0 but for low-rank. Its text form is `str` of it."""

    kind: CompensationKind
    rank: int = 0

    @classmethod
    def parse(cls, text: str) -> "Compensation":
        """`none`, `bias`, `low-rank:16` or `full`; InvalidInput for anything else."""
        if text in _PLAIN:
            return cls(_PLAIN[text])
        found = re.fullmatch(r"low-rank:([0-9]+)", text)
        if found is None or int(found[1]) < 1:
            raise InvalidInput("compensation", expected=f"{MODES} (RANK 1 or more)", found=text)
        return cls("low-rank", int(found[1]))

    def __str__(self) -> str:
        return f"{self.kind}:{self.rank}" if self.kind == "low-rank" else self.kind

    @property
    def ordering(self) -> OrderingKind:
        """The ordering that suits this mode best."""
        return _ORDERINGS[self.kind]


def _canonical(text: str) -> str:
    try:
        return str(Compensation.parse(text))
    except InvalidInput as error:
        raise ValueError(MODES) from error


CompensationMode = Annotated[str, AfterValidator(_canonical)]  # the text form, as files and options hold it
