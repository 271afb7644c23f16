"""What images are to show, in the numbers that a model family takes: a class label, or the tokens of a text.

Rows are tensors by the name of a family's input, all with as many rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

Rows = Mapping[str, Tensor]
Numbers = int | float | tuple[int, ...] | tuple[float, ...] | tuple[tuple[int, ...], ...]


class RowSpec(NamedTuple):
    """What a row of one input is: its type, and its shape without the leading axis."""

    dtype: torch.dtype
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Prompts:
    """Of each image what is wanted of it, and what guidance leads away from."""

    wanted: Rows
    unwanted: Rows

    def __len__(self) -> int:
        return count(self.wanted)

    def __getitem__(self, rows: slice) -> "Prompts":
        return Prompts(_picked(self.wanted, rows), _picked(self.unwanted, rows))

    def in_turn(self, numbers: Sequence[int]) -> "Prompts":
        """Of images by their numbers: when all have had their turn the first is next."""
        rows = torch.tensor(numbers, dtype=torch.int64) % len(self)
        return Prompts(_picked(self.wanted, rows), _picked(self.unwanted, rows))

    def to(self, device: torch.device | str) -> "Prompts":
        """The same there."""
        return Prompts(on_device(self.wanted, device), on_device(self.unwanted, device))

    def branches(self, guidance: float) -> Rows:
        """The rows that steps of that guidance are made of: [wanted; unwanted], at guidance 1 what is wanted alone."""
        if guidance == 1:
            return self.wanted
        return {name: torch.cat([rows, self.unwanted[name]]) for name, rows in self.wanted.items()}


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt in plain numbers, quick to send and to compare: what is wanted, and what guidance leads away from.

    `said` is what its caller said, for whoever tells of the request.
    """

    wanted: Mapping[str, Numbers] = field(hash=False)
    unwanted: Mapping[str, Numbers] = field(hash=False)
    said: Mapping[str, str | int | tuple[int, int]] = field(hash=False)

    def rows(self, inputs: Mapping[str, RowSpec]) -> Prompts:
        """As one row of each of a family's inputs."""
        return rows_of([self], inputs)


@dataclass(frozen=True)
class Encoded:
    """What a family's encoder makes of prompts, once for all steps, as many rows.

    `features` go into conditions, together with a timestep; `constants` are conditions of every step as they are.
    """

    features: Rows
    constants: Rows = field(default_factory=dict)

    def __len__(self) -> int:
        return count(self.features)

    def repeated(self, times: int) -> "Encoded":
        """Each row so often in a row."""
        return Encoded(repeated(self.features, times), repeated(self.constants, times))


def count(rows: Rows) -> int:
    """How many there are."""
    return len(next(iter(rows.values())))


def on_device(rows: Rows, device: torch.device | str) -> Rows:
    """The same there."""
    return {name: tensor.to(device) for name, tensor in rows.items()}


def repeated(rows: Rows, times: int) -> Rows:
    """[P, ...] → [P * times, ...], each row so often in a row."""
    return {name: t.unsqueeze(1).expand(-1, times, *t.shape[1:]).flatten(0, 1) for name, t in rows.items()}


def rows_of(prompts: Sequence[Prompt], inputs: Mapping[str, RowSpec]) -> Prompts:
    """Prompts as rows of each of a family's inputs."""

    def side(numbers: Sequence[Mapping[str, Numbers]]) -> Rows:
        return {name: torch.tensor([each[name] for each in numbers], dtype=of.dtype) for name, of in inputs.items()}

    return Prompts(side([prompt.wanted for prompt in prompts]), side([prompt.unwanted for prompt in prompts]))


def _picked(rows: Rows, which: slice | Tensor) -> Rows:
    return {name: tensor[which] for name, tensor in rows.items()}
