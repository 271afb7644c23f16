"""What every model family's adapter must hold, whatever it is made of: a test of a family hands one in and gets these.

`Subject` is a small random model of diffusers in that family, and its adapter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from diffes.architectures import Architecture, Conditioning, constants_of
from diffes.blob import write_blob
from diffes.latency.stand import Subject as Latency
from diffes.latency.stand import UnorderedModel
from diffes.pruning.mode import Compensation
from diffes.pruning.ordering import apply_ordering
from diffes.pruning.prefix import resolve
from diffes.rollout import conditions_of
from diffes.schedule import BlockPlan, ModelIdentity, StagePlan
from export.networks import write_networks
from export.pieces import denoiser_piece
from export.weights import Weights
from export.writer import BLOB, write_graphs

TIMESTEPS = torch.tensor([999.0, 500.0, 52.5])
_NONE = Compensation.parse("none")
_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # which torch's counter does not know


@dataclass(frozen=True)
class Subject:
    """diffusers' model, its adapter, and the state dict in the adapter's names."""

    model: Any
    architecture: Architecture
    weights: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: Any, architecture: Architecture) -> "Subject":
        """Its weights are converted."""
        return cls(model, architecture, architecture.convert(model.state_dict()))

    def latents(self) -> Tensor:
        """Of three images."""
        shape = (len(TIMESTEPS), *self.architecture.latent_shape)
        return torch.randn(shape, generator=torch.Generator().manual_seed(5))

    def conditions(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Of three timesteps and as many prompts, by the family's encoder and condition."""
        conditioning = Conditioning(self.architecture, self.weights if weights is None else weights, "cpu")
        return conditions_of(conditioning, conditioning.encode(self.prompts()), TIMESTEPS)

    def prompts(self) -> dict[str, Tensor]:
        """Different ones, the last of what guidance leads away from."""
        examples = self.architecture.examples()
        return {
            name: torch.cat([rows.repeat(2, *[1] * (rows.dim() - 1))[:2], examples.unwanted[name][:1]])
            for name, rows in examples.wanted.items()
        }

    def denoiser(self, plan: StagePlan, weights: Mapping[str, Tensor] | None = None) -> Any:
        """Of a plan, on prefixes of the weights."""
        weights = self.weights if weights is None else weights
        found = resolve(self.architecture, plan, _NONE, {name: len(tensor) for name, tensor in weights.items()})
        return self.architecture.denoiser(plan, {name: prefix.of(weights) for name, prefix in found.items()}).eval()


def _attention_flops(queries: Sequence[int], keys: Sequence[int], values: Sequence[int], *_: Any, **__: Any) -> int:
    images, heads, tokens, _size = queries
    return 2 * images * heads * tokens * keys[2] * (keys[3] + values[3])


def mixed_plan(architecture: Architecture) -> StagePlan:
    """Of the blocks in turn: all, half of each, no heads, no channels, nothing."""
    kinds = [(1.0, 1.0), (0.5, 0.5), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)]
    return tuple(
        BlockPlan(*(int(whole * share) for whole, share in zip(block, kinds[index % len(kinds)], strict=True)))
        for index, block in enumerate(architecture.dense)
    )


@torch.no_grad()
def dense_is_that_of_diffusers(subject: Subject, atol: float = 2e-5) -> None:
    """Same latents, timesteps and prompts, same prediction."""
    latents, architecture = subject.latents(), subject.architecture
    inputs = architecture.diffusers_inputs(TIMESTEPS, subject.prompts())
    expected = subject.model(latents, **inputs).sample[:, : architecture.latent_shape[0]]
    found = subject.denoiser(architecture.dense)(latents, **subject.conditions())
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def every_tensor_has_one_reader(subject: Subject) -> None:
    """Step, encoder and condition share none, and what the encoder and the step say they read is there."""
    step, encoder = subject.architecture.step_weights(), subject.architecture.encoder_weights()
    assert len({*step, *encoder}) == len(step) + len(encoder)
    assert {*step, *encoder} <= set(subject.weights)
    assert all(tensor.is_contiguous() for tensor in subject.weights.values())


def pruned_tensors_lead_with_their_units(subject: Subject) -> None:
    """Of every layer, as many rows a unit in all of them; a step reads what is cut and not what is only ordered."""
    weights, step = subject.weights, set(subject.architecture.step_weights())
    for layer in subject.architecture.layers:
        assert all(len(weights[name]) % layer.units == 0 for name in (*layer.sliced, *layer.ordered))
        assert weights[layer.projection].shape == (layer.units * layer.width, layer.outputs)
        assert weights[layer.bias].shape == (layer.outputs,)
        assert {*layer.sliced, layer.projection, layer.bias} <= step
        assert not step & set(layer.ordered)
        assert layer.kept(subject.architecture.dense) == layer.units


def conditions_are_as_stated(subject: Subject) -> None:
    """Names and shapes, constants first."""
    found = {name: tuple(value.shape[1:]) for name, value in subject.conditions().items()}
    assert list(found.items()) == list(subject.architecture.condition_shapes().items())
    assert tuple(found) == (*constants_of(subject.architecture), *subject.architecture.condition_names())


@torch.no_grad()
def ordering_changes_nothing(subject: Subject) -> None:
    """Units permuted wherever they are: the dense function is the same."""
    generator = torch.Generator().manual_seed(3)
    layers = subject.architecture.layers
    ordering = {layer.projection: torch.randperm(layer.units, generator=generator) for layer in layers}
    ordered = apply_ordering(subject.architecture, subject.weights, ordering)
    dense, latents = subject.architecture.dense, subject.latents()
    expected = subject.denoiser(dense)(latents, **subject.conditions())
    found = subject.denoiser(dense, ordered)(latents, **subject.conditions(ordered))
    assert any(not torch.equal(ordered[name], tensor) for name, tensor in subject.weights.items())
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@torch.no_grad()
def a_prefix_is_the_model_without_the_rest(subject: Subject) -> None:
    """A plan's prediction is the dense one's with all else that its layers hold set to zero."""
    plan, zeroed = mixed_plan(subject.architecture), dict(subject.weights)
    for layer in subject.architecture.layers:
        kept = zeroed[layer.projection].clone()
        kept[layer.kept(plan) * layer.width :] = 0
        zeroed[layer.projection] = kept
    latents, conditions = subject.latents(), subject.conditions()
    found = subject.denoiser(plan)(latents, **conditions)
    expected = subject.denoiser(subject.architecture.dense, zeroed)(latents, **conditions)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@torch.no_grad()
def a_step_goes_on_from_any_block(subject: Subject) -> None:
    """To the same prediction, whatever the plan."""
    latents, conditions = subject.latents(), subject.conditions()
    for plan in (subject.architecture.dense, mixed_plan(subject.architecture)):
        denoiser, met = subject.denoiser(plan), dict[int, Any]()
        denoiser.entry = met.__setitem__
        expected = denoiser(latents, **conditions)
        denoiser.entry = None
        assert sorted(met) == list(range(len(plan)))
        for block, moment in met.items():
            torch.testing.assert_close(denoiser.resume(block, moment, **conditions), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def the_tap_sees_every_projection(subject: Subject) -> None:
    """Once, its input and its layer's entry, a row for every token."""
    seen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    denoiser = subject.denoiser(subject.architecture.dense)
    denoiser.tap = lambda name, inputs, entry: seen.update({name: (tuple(inputs.shape), tuple(entry.shape))})
    denoiser(subject.latents(), **subject.conditions())
    images = len(TIMESTEPS)
    assert seen == {
        layer.projection: ((images * layer.rows, layer.units * layer.width), (images * layer.rows, layer.entry))
        for layer in subject.architecture.layers
    }


@torch.no_grad()
def costs_are_those_counted(subject: Subject) -> None:
    """Multiply-accumulates as torch counts them, and the numbers that a plan's denoiser holds."""
    for plan in (subject.architecture.dense, mixed_plan(subject.architecture)):
        denoiser: nn.Module = subject.denoiser(plan)
        latents, conditions = subject.latents(), subject.conditions()
        with FlopCounterMode(display=False, custom_mapping={_ATTENTION: _attention_flops}) as counter:
            denoiser(latents, **conditions)
        assert counter.get_total_flops() == 2 * len(TIMESTEPS) * subject.architecture.macs(plan)
        assert sum(tensor.numel() for tensor in denoiser.parameters()) == subject.architecture.parameters(plan)


def exported_graphs_compute_the_same(subject: Subject, dtype: torch.dtype = torch.float32) -> None:
    """One blob, a graph of each plan, and networks that are handed its weights: each beside torch, by ONNX Runtime."""
    architecture = subject.architecture
    identity = ModelIdentity(class_name="kit", fingerprint="0" * 64)
    model = UnorderedModel(Latency(identity, architecture, subject.weights), "cpu", dtype)
    halves = tuple(BlockPlan(block.heads // 2, block.channels // 2) for block in architecture.dense)
    weights = Weights(model.dtype)
    plans = (architecture.dense, halves, mixed_plan(architecture))
    pieces = [denoiser_piece(model, plan, weights) for plan in plans]
    with TemporaryDirectory() as name:
        write_blob(Path(name) / BLOB, weights.tensors, {"model": identity.fingerprint})
        graphs, error = write_graphs(Path(name), pieces, verify=True, progress=lambda *_: None)
        write_networks(Path(name), pieces, graphs, verify=True, progress=lambda *_: None)  # refuses what differs
    assert len(graphs) == len(plans)
    assert error is not None
    assert error < 1e-4


CHECKS = (
    dense_is_that_of_diffusers,
    every_tensor_has_one_reader,
    pruned_tensors_lead_with_their_units,
    conditions_are_as_stated,
    ordering_changes_nothing,
    a_prefix_is_the_model_without_the_rest,
    a_step_goes_on_from_any_block,
    the_tap_sees_every_projection,
    costs_are_those_counted,
)
