"""CLIP text encoders beside a denoiser, as diffusers' SDXL pipelines read them (arXiv 2307.01952, section 2.1).

A family that reads texts takes `states`, the last hidden states but one of every encoder side by side, and `pooled`,
the last encoder's projection of its state at a text's end. Each encoder has a tokenizer of its own. The modules are
transformers' own, on tensors named `texts.<encoder>.<transformers' name>`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from diffes.architectures.base import Weights, count
from diffes.errors import CheckpointError
from diffes.prompts import RowSpec

FAMILY = "text encoder"
_POOLED = "CLIPTextModelWithProjection"
_CLASSES = ("CLIPTextModel", _POOLED)
_ALL = "texts."
_OUTER = "text_model."  # of older files, and of models with a projection
_TABLES = ("position_ids",)  # of older files: no weights


@dataclass(frozen=True)
class TextEncoders:
    """`configs` are transformers', as JSON; `zeros`: without a text at all, states are zeros and not those of \"\"."""

    configs: tuple[str, ...]
    zeros: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TextEncoders | None":
        """Of a denoiser's config with its pipeline's `text_encoders` beside it; None if it has none."""
        found = config.get("text_encoders")
        if not found:
            return None
        for each in found:
            if each.get("_class_name") not in _CLASSES:
                raise CheckpointError(
                    "unknown text encoder",
                    expected=f"one of {', '.join(_CLASSES)}",
                    found=each.get("_class_name"),
                )
        if found[-1]["_class_name"] != _POOLED:
            raise CheckpointError("the last text encoder has no projection", expected=_POOLED, found=_CLASSES[0])
        lengths = {count(each, "max_position_embeddings", FAMILY) for each in found}
        if len(lengths) > 1:
            raise CheckpointError("text encoders take texts of different lengths", expected="one", found=lengths)
        zeros = bool(config.get("force_zeros_for_empty_prompt"))
        return cls(tuple(json.dumps(each, sort_keys=True) for each in found), zeros)

    @property
    def length(self) -> int:
        """Tokens of a text, its ends and filling included."""
        return int(self._read(0)["max_position_embeddings"])

    @property
    def state_channels(self) -> int:
        """Of a token's states."""
        return sum(self._read(number)["hidden_size"] for number in self._numbers)

    @property
    def pooled_channels(self) -> int:
        """Of the pooled state."""
        return int(self._read(-1)["projection_dim"])

    def inputs(self) -> dict[str, RowSpec]:
        """A text in tokens of each encoder, and whether there is one: 1 or 0."""
        return {
            "tokens": RowSpec(torch.int64, (len(self.configs), self.length)),
            "present": RowSpec(torch.float32),
        }

    def weights(self) -> tuple[str, ...]:
        """Names of their tensors that are read."""
        return tuple(f"{_at(number)}{name}" for number in self._numbers for name in _read_of(self.configs[number]))

    def convert(self, states: Sequence[Weights]) -> dict[str, Tensor]:
        """Each encoder's tensors as transformers stores them, in these names; CheckpointError unless they fit."""
        return {f"{_at(n)}{name}": t for n in self._numbers for name, t in self._converted(n, states[n]).items()}

    def _converted(self, number: int, state: Weights) -> dict[str, Tensor]:
        given = {name.removeprefix(_OUTER): tensor for name, tensor in state.items()}
        given = {name: tensor for name, tensor in given.items() if name.split(".")[-1] not in _TABLES}
        whole = _shapes(self.configs[number])
        strange = set(given) ^ set(whole)
        if strange:
            raise CheckpointError(
                f"text encoder {number + 1} does not fit its config",
                expected=f"{len(whole)} tensors",
                found=f"{len(given)}; {min(strange)} is on one side only",
            )
        for name, shape in whole.items():
            if given[name].shape != shape:
                raise CheckpointError(
                    f"text encoder {number + 1} does not fit its config at {name}",
                    expected=tuple(shape),
                    found=tuple(given[name].shape),
                )
        return {name: given[name].contiguous() for name in _read_of(self.configs[number])}

    def modules(self, weights: Weights) -> nn.ModuleList:
        """The encoders on the given tensors."""
        return nn.ModuleList(self._module(number, weights) for number in self._numbers)

    def _module(self, number: int, weights: Weights) -> nn.Module:
        module: nn.Module = _built(self.configs[number])
        own = {name: weights[f"{_at(number)}{name}"] for name in _read_of(self.configs[number])}
        module.load_state_dict(own, assign=True)
        embeddings: Any = module.embeddings
        places = torch.arange(self.length, device=next(iter(own.values())).device).expand(1, -1)
        embeddings.register_buffer("position_ids", places, persistent=False)
        return module.eval().requires_grad_(False)

    @property
    def _numbers(self) -> range:
        return range(len(self.configs))

    def _read(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.configs[number])
        return found


def split(weights: Weights) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A family's own tensors, and the text encoders'."""
    of_texts = {name: tensor for name, tensor in weights.items() if name.startswith(_ALL)}
    return {name: tensor for name, tensor in weights.items() if name not in of_texts}, of_texts


def states_of(encoders: nn.ModuleList, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """tokens [P, encoders, length], present [P] → states [P, length, their channels], pooled [P, its channels]."""
    read: list[Any] = [encoder(tokens[:, n], output_hidden_states=True) for n, encoder in enumerate(encoders)]
    states = [each.hidden_states[-1] for each in read[:-1]] + [read[-1].hidden_states[-2]]
    pooled = cast(Any, encoders[-1]).text_projection(read[-1].pooler_output)
    there = present.to(pooled.dtype)
    return torch.cat(states, 2) * there[:, None, None], pooled * there[:, None]


def _at(number: int) -> str:
    return f"{_ALL}{number}."


@cache
def _shapes(config: str) -> dict[str, torch.Size]:
    """Of all of an encoder's tensors, by name."""
    return {name: tensor.shape for name, tensor in _inner(json.loads(config)).state_dict().items()}


@cache
def _read_of(config: str) -> tuple[str, ...]:
    """Names of the tensors that are read."""
    return tuple(_built(config).state_dict())


def _built(config: str) -> nn.Module:
    """An encoder without tensors; one that is not pooled ends before its last layer, whose output nothing reads."""
    document = json.loads(config)
    if document["_class_name"] == _POOLED:
        return _inner(document)
    inner = _inner({**document, "num_hidden_layers": document["num_hidden_layers"] - 1})
    inner.final_layer_norm = nn.Identity()
    return inner


def _inner(document: Mapping[str, Any]) -> nn.Module:
    """transformers' module, a projection inside."""
    from transformers import CLIPTextConfig, CLIPTextModel  # takes seconds, which models without texts need not wait

    with torch.device("meta"):
        model: Any = CLIPTextModel(CLIPTextConfig.from_dict(dict(document)))
        inner: nn.Module = getattr(model, "text_model", model)
        if document["_class_name"] == _POOLED:
            inner.text_projection = nn.Linear(document["hidden_size"], document["projection_dim"], bias=False)
    return inner
