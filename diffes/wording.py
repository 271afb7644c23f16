"""From what callers say to prompts: how a model's callers tell it what to show."""

from collections.abc import Sequence
from dataclasses import dataclass

from diffes.labels import label_in, label_of
from diffes.prompts import Numbers, Prompt, Prompts, Rows


@dataclass(frozen=True)
class ClassNames:
    """Of a model that knows classes: a label, or a text that names exactly one. `examples` has a row for each."""

    names: Sequence[str]
    examples: Prompts

    def prompt(self, label: str | int | None = None, text: str | None = None) -> Prompt:
        """Of a class by its name or id, or else of the one that the text names; InvalidInput if none is meant."""
        number = label_in(text or "", self.names) if label is None else label_of(label, self.names)
        return Prompt(
            wanted=_numbers(self.examples.wanted, number),
            unwanted=_numbers(self.examples.unwanted, number),
            said={"label": number},
        )


def _numbers(rows: Rows, row: int) -> dict[str, Numbers]:
    """One row in plain numbers."""
    plain = {name: tensor[row].tolist() for name, tensor in rows.items()}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
