from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from diffes.architectures import architecture_for
from diffes.architectures.dit import DiT
from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError
from diffes.kernels import Branch, value_of
from diffes.pruning.mode import Compensation
from diffes.pruning.prefix import resolve
from diffes.schedule import BlockPlan, StagePlan
from tests.conftest import tiny_dit

TIMESTEPS = torch.tensor([999.0, 500.0, 52.5, 0.0])
CLASSES = torch.tensor([0, 9, 3, 10])  # the last is the unconditional label


def ours(state: dict[str, Tensor], dit: DiT, latents: Tensor, plan: StagePlan | None = None) -> Tensor:
    """Condition and denoise with the tensors a dense plan reads."""
    weights = dit.convert(state)
    names = dit.step_weights()
    denoiser = dit.denoiser(plan or dit.dense, {name: weights.pop(name) for name in names})
    conditions = dit.condition(weights)(TIMESTEPS, CLASSES)
    out: Tensor = denoiser(latents, **dict(zip(dit.condition_names(), conditions, strict=True)))
    return out


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"out_channels": 6},
        {"norm_eps": 0.1},
        {"in_channels": 4, "out_channels": 8, "sample_size": 16},
        {"patch_size": 1, "sample_size": 4},
        {"patch_size": 4, "num_layers": 1, "num_attention_heads": 3, "attention_head_dim": 16},
    ],
    ids=str,
)
def test_the_dense_model_is_that_of_diffusers(variant: dict[str, float]) -> None:
    model = tiny_dit(**variant)
    dit = DiT.from_config(model.config)
    latents = torch.randn(4, *dit.latent_shape, generator=torch.Generator().manual_seed(5))
    expected = model(latents, timestep=TIMESTEPS, class_labels=CLASSES).sample[:, : dit.latent_channels]
    found = ours(model.state_dict(), dit, latents)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_stored_position_table_is_used() -> None:
    model = tiny_dit()
    dit = DiT.from_config(model.config)
    latents = torch.randn(4, *dit.latent_shape, generator=torch.Generator().manual_seed(5))
    table = model.pos_embed.pos_embed
    same = ours(model.state_dict() | {"pos_embed.pos_embed": table}, dit, latents)
    other = ours(model.state_dict() | {"pos_embed.pos_embed": table.flip(1)}, dit, latents)
    torch.testing.assert_close(same, ours(model.state_dict(), dit, latents), rtol=0, atol=1e-5)
    assert not torch.allclose(same, other, atol=1e-2)


def test_every_tensor_belongs_to_the_step_or_the_condition(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor]
) -> None:
    dit = tiny_checkpoint.architecture
    condition = {"ada.weight", "ada.bias", "final_ada.weight", "final_ada.bias", "embedder.labels"}
    condition |= {f"embedder.fc{i}.{part}" for i in (1, 2) for part in ("weight", "bias")}
    assert set(tiny_weights) == set(dit.step_weights()) | condition
    assert not set(dit.step_weights()) & condition


def test_pruned_tensors_lead_with_their_units(tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor]) -> None:
    layers = tiny_checkpoint.architecture.layers
    assert [(layer.block, layer.kind) for layer in layers] == [
        (0, "heads"),
        (0, "channels"),
        (1, "heads"),
        (1, "channels"),
    ]
    for layer in layers:
        assert all(len(tiny_weights[name]) % layer.units == 0 for name in layer.sliced)
        assert len(tiny_weights[layer.projection]) == layer.units * layer.width
        assert len(tiny_weights[layer.bias]) == tiny_weights[layer.projection].shape[1]


def test_conditions_have_the_stated_shapes(tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor]) -> None:
    dit = tiny_checkpoint.architecture
    names = set(dit.step_weights())
    outputs = dit.condition({n: t for n, t in tiny_weights.items() if n not in names})(TIMESTEPS, CLASSES)
    assert [tuple(out.shape[1:]) for out in outputs] == list(dit.condition_shapes().values())


def test_a_plan_that_keeps_nothing_still_adds_the_biases() -> None:
    model = tiny_dit()
    for block in model.transformer_blocks:
        block.attn1.to_out[0].weight.zero_()
        block.ff.net[2].weight.zero_()
    dit = DiT.from_config(model.config)
    latents = torch.randn(4, *dit.latent_shape, generator=torch.Generator().manual_seed(5))
    expected = model(latents, timestep=TIMESTEPS, class_labels=CLASSES).sample
    found = ours(model.state_dict(), dit, latents, (BlockPlan(0, 0),) * 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_tap_sees_the_input_of_every_projection(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor]
) -> None:
    dit = tiny_checkpoint.architecture
    denoiser = dit.denoiser(dit.dense, {name: tiny_weights[name] for name in dit.step_weights()})
    seen: dict[str, tuple[tuple[int, ...], ...]] = {}
    denoiser.tap = lambda name, inputs, entry: seen.update({name: (tuple(inputs.shape), tuple(entry.shape))})  # type: ignore[assignment]
    denoiser(torch.zeros(5, 3, 8, 8), torch.ones(5, 2, 6, 32), torch.ones(5, 2, 32))
    assert seen == {layer.projection: ((5 * 16, layer.units * layer.width), (5 * 16, 32)) for layer in dit.layers}


@pytest.mark.parametrize("plan", [(BlockPlan(4, 128),) * 2, (BlockPlan(0, 0), BlockPlan(2, 128))])
def test_factors_add_a_linear_map_of_the_entry_skipped_or_not(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], plan: StagePlan
) -> None:
    dit, generator = tiny_checkpoint.architecture, torch.Generator().manual_seed(1)
    weights = {name: tiny_weights[name] for name in dit.step_weights()}
    for layer in dit.layers:
        kept = layer.kept(plan)
        for name in (*layer.sliced, layer.projection):
            weights[name] = weights[name][: len(weights[name]) // layer.units * kept]
            if kept == 0:
                del weights[name]
    attention = dit.layers[0]
    left, right = torch.randn(32, 3, generator=generator), torch.randn(3, 32, generator=generator)
    inputs = [torch.randn(2, *shape, generator=generator) for shape in ((3, 8, 8), (2, 6, 32), (2, 32))]
    added: list[Any] = []
    plain, corrected = (
        dit.denoiser(plan, weights | factors) for factors in ({}, {attention.left: left, attention.right: right})
    )
    for denoiser in (plain, corrected):
        denoiser._attention = _recorded(denoiser._attention, added)  # type: ignore[assignment, arg-type]
        denoiser(*inputs)
    (entry, before), (_, after) = added[0], added[2]
    torch.testing.assert_close(after - before, entry @ left @ right, rtol=1e-4, atol=1e-4)


def _recorded(attention: Callable[..., Branch], seen: list[Any]) -> Callable[..., Branch]:
    def record(h: Tensor, *rest: Any) -> Branch:
        out = attention(h, *rest)
        seen.append((h.flatten(0, 1), value_of(out, h).expand_as(h).flatten(0, 1)))
        return out

    return record


@pytest.mark.parametrize("plan", [(BlockPlan(4, 128),) * 2, (BlockPlan(1, 0), BlockPlan(0, 7))])
def test_parameters_are_the_numbers_a_denoiser_reads(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], plan: StagePlan
) -> None:
    dit = tiny_checkpoint.architecture
    stored = {name: len(tensor) for name, tensor in tiny_weights.items()}
    read = resolve(dit, plan, Compensation("none"), stored)
    assert dit.parameters(plan) == sum(prefix.of(tiny_weights).numel() for prefix in read.values())


def test_macs_are_those_of_the_products_in_one_row() -> None:
    dit = DiT.from_config(tiny_dit().config)
    tokens, width, head, pixels = 16, 32, 8, 12
    ends = 2 * tokens * width * pixels
    one_head = tokens * width * 3 * head + 2 * tokens * tokens * head + tokens * head * width
    one_channel = 2 * tokens * width
    assert dit.macs((BlockPlan(0, 0), BlockPlan(0, 0))) == ends
    assert dit.macs((BlockPlan(1, 0), BlockPlan(0, 0))) == ends + one_head
    assert dit.macs((BlockPlan(0, 0), BlockPlan(0, 5))) == ends + 5 * one_channel
    assert dit.macs(dit.dense) == ends + 2 * (4 * one_head + 128 * one_channel)


BAD_CONFIGS: list[tuple[str, Any]] = [
    ("norm_type", "layer_norm"),
    ("activation_fn", "geglu"),
    ("attention_bias", False),
    ("norm_elementwise_affine", True),
    ("num_layers", None),
    ("num_attention_heads", "8"),
    ("num_embeds_ada_norm", None),
    ("sample_size", 9),
    ("out_channels", 5),
]


@pytest.mark.parametrize(("key", "value"), BAD_CONFIGS)
def test_a_variant_it_does_not_cover_is_refused(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=key):
        architecture_for("DiTTransformer2DModel", dict(tiny_dit().config) | {key: value})


def test_a_missing_tensor_is_named() -> None:
    model = tiny_dit()
    state = model.state_dict()
    del state["transformer_blocks.1.attn1.to_k.bias"]
    with pytest.raises(CheckpointError, match=r"transformer_blocks\.1\.attn1\.to_k\.bias"):
        DiT.from_config(model.config).convert(state)


@pytest.mark.parametrize(
    "config",
    [{"num_layers": 1}, {"num_attention_heads": 2}, {"sample_size": 16}, {"num_embeds_ada_norm": 9}, {"patch_size": 4}],
    ids=str,
)
def test_weights_of_another_config_are_refused(config: dict[str, int]) -> None:
    model = tiny_dit()
    state = model.state_dict() | {"pos_embed.pos_embed": model.pos_embed.pos_embed}
    with pytest.raises(CheckpointError, match="checkpoint"):
        DiT.from_config(dict(model.config) | config).convert(state)


def test_embedders_that_differ_between_blocks_are_refused() -> None:
    model = tiny_dit()
    model.transformer_blocks[1].norm1.emb.timestep_embedder.linear_1.weight[0, 0] += 1
    with pytest.raises(CheckpointError, match=r"linear_1\.weight differ.*Tie them"):
        DiT.from_config(model.config).convert(model.state_dict())


@pytest.mark.parametrize("first", [0, 1])
def test_a_step_can_go_on_from_any_blocks_input(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], first: int
) -> None:
    dit = tiny_checkpoint.architecture
    denoiser: Any = dit.denoiser(dit.dense, {name: tiny_weights[name] for name in dit.step_weights()})
    shapes = dit.condition_shapes().items()
    generator = torch.Generator().manual_seed(1)
    conditions = {name: torch.randn(2, *shape, generator=generator) for name, shape in shapes}
    inputs: dict[int, Tensor] = {}
    denoiser.entry = inputs.__setitem__
    whole = denoiser(torch.randn(2, *dit.latent_shape, generator=generator), **conditions)
    denoiser.entry = None

    assert sorted(inputs) == [0, 1]
    assert torch.equal(denoiser.resume(first, inputs[first], **conditions), whole)
