"""From what callers say to prompts: how a model's callers tell it what to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

from diffes.architectures import Architecture
from diffes.errors import InvalidInput
from diffes.labels import label_in, label_of
from diffes.prompts import Numbers, Prompt, Prompts, Rows, rows_of
from diffes.sizes import WHOLE, Framing, Size
from diffes.tokens import Tokenizer, tokens_of


class Wording(Protocol):
    """How one model is told what to show."""

    @property
    def examples(self) -> Prompts:
        """What to look at the model with, in turn."""

    @property
    def names(self) -> Sequence[str]:
        """What the examples show, in words."""

    def example(self, number: int, size: Size | None = None) -> Prompt:
        """One of the examples; when all have had their turn the first is next."""

    def classes(self, judge: Sequence[str]) -> tuple[int | None, ...]:
        """Which of a classifier's classes each example shows, if any."""

    def prompt(
        self,
        label: str | int | None = None,
        text: str | None = None,
        unwanted: str | None = None,
        size: Size | None = None,
        framing: Framing = WHOLE,
        unwanted_framing: Framing | None = None,
    ) -> Prompt:
        """What is meant by a label or a text, and by a text of what is not to be seen; InvalidInput if nothing is.

        `size` is the image's, if it is not the model's own. `framing` is told to a model that knows framings, and to
        guidance's other branch as well unless it has one of its own.
        """


@dataclass(frozen=True)
class ClassNames:
    """Of a model that knows classes: a label, or a text that names exactly one. `examples` has a row for each."""

    names: Sequence[str]
    examples: Prompts

    def example(self, number: int, size: Size | None = None) -> Prompt:
        """Of a class in turn."""
        return self.prompt(number % len(self.names), size=size)

    def classes(self, judge: Sequence[str]) -> tuple[int | None, ...]:
        """The one in its place: a judge of a model knows the model's classes."""
        return tuple(number if number < len(judge) else None for number in range(len(self.names)))

    def prompt(
        self,
        label: str | int | None = None,
        text: str | None = None,
        unwanted: str | None = None,
        size: Size | None = None,  # noqa: ARG002 - such a model is not told
        framing: Framing = WHOLE,
        unwanted_framing: Framing | None = None,
    ) -> Prompt:
        """Of a class by its name or id, or else of the one that the text names; InvalidInput if none is meant."""
        if unwanted is not None:
            raise InvalidInput("negative_prompt", expected="nothing: this model knows classes alone", found=unwanted)
        _refuse(_said(framing, unwanted_framing))
        number = label_in(text or "", self.names) if label is None else label_of(label, self.names)
        return Prompt(
            wanted=_numbers(self.examples.wanted, number),
            unwanted=_numbers(self.examples.unwanted, number),
            said={"label": number},
        )


@dataclass(frozen=True)
class Texts:
    """Of a model that reads texts. `size` is the images' height and width, `names` texts to look at the model with."""

    architecture: Architecture
    tokenizers: Sequence[Tokenizer]
    names: Sequence[str]
    size: Size

    @cached_property
    def examples(self) -> Prompts:
        """The texts, guidance leading away from none."""
        return rows_of([self.prompt(text=text) for text in self.names], self.architecture.prompt_inputs())

    def example(self, number: int, size: Size | None = None) -> Prompt:
        """Of a text in turn."""
        return self.prompt(text=self.names[number % len(self.names)], size=size)

    def classes(self, judge: Sequence[str]) -> tuple[int | None, ...]:
        """The one that the text names, if it names exactly one."""
        return tuple(_named(text, judge) for text in self.names)

    def prompt(
        self,
        label: str | int | None = None,
        text: str | None = None,
        unwanted: str | None = None,
        size: Size | None = None,
        framing: Framing = WHOLE,
        unwanted_framing: Framing | None = None,
    ) -> Prompt:
        """Of a text, the empty one included; without `unwanted` guidance leads away from no text, as diffusers does."""
        if label is not None or text is None:
            field, found = ("prompt", "none") if label is None else ("label", repr(label))
            raise InvalidInput(field, expected="a prompt alone: this model reads texts", found=found)
        framed = _said(framing, unwanted_framing)
        if not self.architecture.framed:
            _refuse(framed)
        said = {"prompt": text, **({} if unwanted is None else {"negative_prompt": unwanted}), **framed}
        size, other = size or self.size, framing if unwanted_framing is None else unwanted_framing
        return Prompt(wanted=self._told(text, size, framing), unwanted=self._told(unwanted, size, other), said=said)

    def _told(self, text: str | None, size: Size, framing: Framing) -> dict[str, Numbers]:
        texts = self.architecture.texts
        assert texts is not None
        return {
            "tokens": tokens_of(self.tokenizers, text or ""),
            "present": 0.0 if text is None and texts.zeros else 1.0,
            **self.architecture.sizes(size, framing),
        }


def _said(framing: Framing, unwanted: Framing | None) -> dict[str, str | tuple[int, int]]:
    return {**framing.said(), **({} if unwanted is None else unwanted.said("negative_"))}


def _refuse(framed: Mapping[str, object]) -> None:
    """InvalidInput for the first thing that was said of a framing."""
    for field, value in framed.items():
        raise InvalidInput(field, expected="nothing: this model is not told how an image was cut", found=value)


def _named(text: str, names: Sequence[str]) -> int | None:
    try:
        return label_in(text, names)
    except InvalidInput:
        return None


def _numbers(rows: Rows, row: int) -> dict[str, Numbers]:
    """One row in plain numbers."""
    return {name: cast(Numbers, _frozen(tensor[row].tolist())) for name, tensor in rows.items()}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
