"""What a bundle runs: one piece per graph file, each a torch module with what it reads of the blob."""

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from diffes.architectures import Architecture, encoder_outputs
from diffes.checkpoint import Checkpoint
from diffes.components import read_config, read_state
from diffes.decoder import LatentDecoder
from diffes.manifest import WEIGHTS, PrefixSpec
from diffes.prompts import Encoded, Prompts, Rows
from diffes.pruning.model import PrunedModel
from diffes.pruning.prefix import Prefix
from diffes.rollout import conditions_of, seeded_noise
from diffes.schedule import StagePlan
from export.weights import Weights

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Piece:
    """A module to be written as `file`. Pieces of equal `topology` differ in which weights they have of those that
    `whole` has, and in these' sizes: its trace serves them all. Without `whole`, the module is whole.

    Sides of latents are free in multiples of `sides`, if that is given; then inputs of other rows are of other sizes.
    `free` names the leading axes of weights that levels cut; axes of one name are of one size.
    """

    file: str
    module: nn.Module
    inputs: Callable[[int], Inputs]  # example inputs of so many rows
    outputs: tuple[str, ...]
    prefixes: dict[str, PrefixSpec]
    topology: Hashable
    free: Mapping[str, str] = field(default_factory=dict)
    sides: int | None = None
    whole: Callable[[], nn.Module] | None = None

    @property
    def traced(self) -> nn.Module:
        """What is traced for all of this topology."""
        return self.module if self.whole is None else self.whole()


def subgraph_id(plan: StagePlan) -> str:
    """Names a stage plan; 8 hex digits."""
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:8]


def denoiser_piece(model: PrunedModel, plan: StagePlan, weights: Weights) -> Piece:
    """The denoiser of one stage plan, for latents of every size that the family takes."""
    sides = model.architecture.side_multiple

    def inputs(rows: int) -> Inputs:
        noise, encoded = _noise(model.architecture, rows, sides), _encoded(model, rows)
        given = {"latents": noise, **conditions_of(model, encoded, _timesteps(rows))}
        return {name: value.to(model.dtype) for name, value in given.items()}

    prefixes = {f"{WEIGHTS}{name}": prefix for name, prefix in model.prefixes(plan).items()}
    return Piece(
        file=f"denoise-{subgraph_id(plan)}.onnx",
        module=model.denoiser(plan),
        inputs=inputs,
        outputs=("prediction",),
        prefixes=weights.add_prefixes(prefixes, model.tensors),
        topology=("denoise", model.architecture, model.dtype, model.has_factors, sides),
        sides=sides,
        whole=model.whole_denoiser,
        free={f"{WEIGHTS}{name}": axis for name, axis in free_axes(model.architecture, model.tensors).items()},
    )


def free_axes(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Names the leading axis of every whole tensor that levels cut: by layer, and by its rows a unit."""
    return {
        name: f"{layer.kind}_{layer.block}_x{len(tensors[name]) // layer.units}"
        for layer in architecture.layers
        for name in (*layer.sliced, layer.projection)
    }


def condition_piece(model: PrunedModel, weights: Weights) -> Piece:
    """What depends on timestep and prompt only."""

    def inputs(rows: int) -> Inputs:
        return {"timesteps": _timesteps(rows), **_encoded(model, rows).features}

    names = [name.removeprefix(WEIGHTS) for name, _ in model.condition_module().named_parameters()]
    # stored as all else is: a condition is rounded to the step's type before the step reads it
    module = model.architecture.condition({name: model.tensors[name].to(weights.dtype) for name in names})
    prefixes = {f"{WEIGHTS}{name}": Prefix(name) for name in names}
    return Piece(
        file="condition.onnx",
        module=module,
        inputs=inputs,
        outputs=model.architecture.condition_names(),
        prefixes=weights.add_prefixes(prefixes, model.tensors),
        topology=("condition", model.architecture, weights.dtype),
    )


def encoder_piece(model: PrunedModel, weights: Weights) -> Piece | None:
    """What depends on a prompt only; None of a family without an encoder."""
    architecture = model.architecture
    names = architecture.encoder_weights()
    module = architecture.encoder({name: model.tensors[name].to(weights.dtype) for name in names})
    if module is None:
        return None
    return Piece(
        file="encode.onnx",
        module=module,
        inputs=lambda rows: dict(_prompts(model, rows)),
        outputs=encoder_outputs(architecture),
        prefixes=weights.add_prefixes({f"{WEIGHTS}{name}": Prefix(name) for name in names}, model.tensors),
        topology=("encode", architecture, weights.dtype),
    )


def decoder_piece(checkpoint: Checkpoint, folder: Path, weights: Weights, *, tiled: bool = False) -> Piece:
    """The VAE's decoder, its tensors stored as `vae.<diffusers' name>`; for latents of every size that there are.

    In float32 if its config says that float16 is not enough (`force_upcast`).
    """
    config = read_config(folder)
    is_short = weights.dtype == torch.float16 and config.get("force_upcast") is True
    dtype = torch.float32 if is_short else weights.dtype
    decoder = LatentDecoder(config, read_state(folder)).to(dtype)
    tensors = {f"vae.{name}": tensor for name, tensor in decoder.state_dict().items()}
    prefixes = {name.removeprefix("vae."): Prefix(name) for name in tensors}
    sides = 1 if tiled or checkpoint.architecture.side_multiple is not None else None
    return Piece(
        file="decode.onnx",
        module=decoder,
        inputs=lambda rows: {"latents": _noise(checkpoint.architecture, rows, sides).to(dtype)},
        outputs=("images",),
        prefixes=weights.add_prefixes(prefixes, tensors, dtype),
        topology=("decode", json.dumps(config, sort_keys=True), dtype, sides),
        sides=sides,
    )


def _noise(architecture: Architecture, rows: int, sides: int | None) -> Tensor:
    """Latents of so many rows: of the model's own size, or with free sides of a small one that rows tell."""
    shape = architecture.latent_shape
    return seeded_noise(range(rows), shape if sides is None else (shape[0], sides * rows, sides * (rows + 1)))


def _timesteps(rows: int) -> Tensor:
    return torch.arange(rows, dtype=torch.float32) * 333 + 7


def _encoded(model: PrunedModel, rows: int) -> Encoded:
    return model.encode(_prompts(model, rows))


def _prompts(model: PrunedModel, rows: int) -> Rows:
    """Every example in turn, and one of what guidance leads away from."""
    examples = model.architecture.examples()
    every = {name: torch.cat([wanted, examples.unwanted[name][:1]]) for name, wanted in examples.wanted.items()}
    return Prompts(every, every).in_turn(range(rows)).wanted
