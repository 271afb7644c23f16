from math import prod

import pytest
import torch
from torch import Tensor

from diffes.architectures import PrunableLayer
from diffes.checkpoint import Checkpoint
from diffes.errors import ScheduleError
from diffes.pruning.calibration import Calibration
from diffes.pruning.model import PrunedModel
from diffes.schedule import BlockPlan, CompensationMode, StagePlan

PLANS: list[StagePlan] = [
    (BlockPlan(2, 64), BlockPlan(2, 64)),
    (BlockPlan(3, 17), BlockPlan(1, 128)),
    (BlockPlan(0, 40), BlockPlan(4, 0)),
    (BlockPlan(0, 0), BlockPlan(1, 1)),
]


@pytest.fixture(scope="module")
def models(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration
) -> dict[CompensationMode, PrunedModel]:
    modes: tuple[CompensationMode, ...] = ("none", "bias", "low-rank:4", "full")
    return {mode: PrunedModel(tiny_checkpoint.architecture, tiny_weights, tiny_calibration, mode) for mode in modes}


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def conditions(models: dict[CompensationMode, PrunedModel]) -> dict[str, Tensor]:
    return models["none"].condition(torch.tensor([950.0, 500.0, 100.0, 0.0]), {"labels": torch.tensor([1, 2, 3, 10])})


def read_by(model: PrunedModel, plan: StagePlan) -> dict[str, Tensor]:
    return {name.removeprefix("weights."): tensor for name, tensor in model.denoiser(plan).named_parameters()}


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_reads_prefixes_in_place(models: dict[CompensationMode, PrunedModel], plan: StagePlan) -> None:
    model = models["none"]
    read = read_by(model, plan)
    for layer in model.architecture.layers:
        kept = layer.kept(plan)
        for name in (*layer.sliced, layer.projection):
            whole = model.tensors[name]
            if kept == 0:
                assert name not in read
                continue
            assert torch.equal(read[name], whole[: len(whole) // layer.units * kept])
            assert read[name].data_ptr() == whole.data_ptr()
            assert read[name].is_contiguous()
    assert read["patch.weight"].data_ptr() == model.tensors["patch.weight"].data_ptr()


def masked_weights(model: PrunedModel, layer: PrunableLayer, kept: int) -> Tensor:
    weight = model.tensors[layer.projection].clone()
    weight[kept * layer.width :] = 0
    return weight


@pytest.mark.parametrize("plan", PLANS)
def test_a_pruned_step_is_the_dense_step_with_removed_units_masked(
    models: dict[CompensationMode, PrunedModel], latents: Tensor, conditions: dict[str, Tensor], plan: StagePlan
) -> None:
    model = models["none"]
    dit = model.architecture
    masked = {layer.projection: masked_weights(model, layer, layer.kept(plan)) for layer in dit.layers}
    weights = {name: masked.get(name, model.tensors[name]) for name in dit.step_weights()}
    expected = dit.denoiser(dit.dense, weights)(latents, **conditions)
    found = model.denoise(plan, latents, conditions)
    assert not torch.allclose(found, model.denoise(dit.dense, latents, conditions), atol=1e-2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["none", "bias", "low-rank:4", "full"])
def test_the_dense_plan_is_the_checkpoint_in_every_mode(
    tiny_weights: dict[str, Tensor],
    models: dict[CompensationMode, PrunedModel],
    latents: Tensor,
    conditions: dict[str, Tensor],
    mode: CompensationMode,
) -> None:
    dit = models[mode].architecture
    expected = dit.denoiser(dit.dense, {name: tiny_weights[name] for name in dit.step_weights()})
    found = models[mode].denoise(dit.dense, latents, conditions)
    torch.testing.assert_close(found, expected(latents, **conditions), rtol=0, atol=1e-5)


def test_plans_that_keep_the_same_of_a_layer_share_its_compensation(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration
) -> None:
    model = PrunedModel(tiny_checkpoint.architecture, tiny_weights, tiny_calibration, "full")
    first, second = (BlockPlan(2, 64), BlockPlan(4, 128)), (BlockPlan(2, 32), BlockPlan(4, 128))
    model.denoiser(first)
    stored = set(model.tensors)
    model.denoiser(second)
    assert set(model.tensors) - stored == {"blocks.0.fc2.weight.keep32", "blocks.0.fc2.bias.keep32"}
    shared = "blocks.0.out.weight"
    assert read_by(model, first)[shared].data_ptr() == read_by(model, second)[shared].data_ptr()
    assert model.denoiser(first) is model.denoiser(first)


def test_levels_of_a_layer_share_their_left_factor(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration
) -> None:
    model = PrunedModel(tiny_checkpoint.architecture, tiny_weights, tiny_calibration, "low-rank:4")
    first, second = (BlockPlan(2, 64), BlockPlan(4, 128)), (BlockPlan(2, 32), BlockPlan(4, 128))
    shared, stored = "blocks.0.fc2.left", {}
    for plan in (first, second):
        model.denoiser(plan)
        stored[plan] = set(model.tensors)
    assert stored[second] - stored[first] == {"blocks.0.fc2.right.keep32", "blocks.0.fc2.bias.keep32"}
    assert read_by(model, first)[shared].data_ptr() == read_by(model, second)[shared].data_ptr()
    assert {tuple(model.tensors[f"blocks.0.fc2.right.keep{kept}"].shape) for kept in (64, 32)} == {(4, 32)}


def test_modes_store_no_more_than_they_need(models: dict[CompensationMode, PrunedModel]) -> None:
    plan = PLANS[2]
    for model in models.values():
        model.denoiser(plan)
    dense = set(models["none"].architecture.step_weights())
    extra = {
        mode: {n for n in model.prefixes(plan) if model.prefixes(plan)[n].tensor not in dense}
        for mode, model in models.items()
    }
    assert extra["none"] == set()
    assert extra["bias"] == {"blocks.0.out.bias", "blocks.0.fc2.bias", "blocks.1.fc2.bias"}
    factors = {f"blocks.{at}.{side}" for at in ("0.out", "0.fc2", "1.fc2") for side in ("left", "right")}
    assert extra["low-rank:4"] == extra["bias"] | factors
    assert extra["full"] == extra["bias"] | {"blocks.0.fc2.weight"}


def test_compensation_brings_a_pruned_step_closer_to_the_dense(
    models: dict[CompensationMode, PrunedModel], latents: Tensor, conditions: dict[str, Tensor]
) -> None:
    plan = (BlockPlan(4, 64), BlockPlan(4, 128))  # one layer, so that nothing else can make up for it
    dense = models["none"].denoise(models["none"].architecture.dense, latents, conditions)
    none, bias, low, full = (
        float((model.denoise(plan, latents, conditions) - dense).square().mean()) for model in models.values()
    )
    assert full < bias
    assert full < none
    assert low < bias


def test_half_precision_steps_stay_close_and_answer_in_float32(
    tiny_checkpoint: Checkpoint,
    tiny_weights: dict[str, Tensor],
    tiny_calibration: Calibration,
    models: dict[CompensationMode, PrunedModel],
    latents: Tensor,
    conditions: dict[str, Tensor],
) -> None:
    dit = tiny_checkpoint.architecture
    half = PrunedModel(dit, tiny_weights, tiny_calibration, "full", dtype=torch.bfloat16)
    found = half.denoise(PLANS[0], latents, conditions)
    expected = models["full"].denoise(PLANS[0], latents, conditions)
    assert found.dtype == torch.float32
    step = {prefix.tensor for prefix in half.prefixes(PLANS[0]).values()}
    assert {half.tensors[name].dtype for name in step} == {torch.bfloat16}
    assert {half.tensors[name].dtype for name in ("ada.weight", "embedder.labels")} == {torch.float32}
    assert float((found - expected).abs().mean() / expected.abs().mean()) < 0.03


def test_conditions_are_named_rows(models: dict[CompensationMode, PrunedModel], conditions: dict[str, Tensor]) -> None:
    shapes = models["none"].architecture.condition_shapes()
    assert {name: tensor.numel() for name, tensor in conditions.items()} == {
        name: 4 * prod(shape) for name, shape in shapes.items()
    }


def test_without_a_calibration_only_the_dense_plan_runs(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], latents: Tensor, conditions: dict[str, Tensor]
) -> None:
    dit = tiny_checkpoint.architecture
    model = PrunedModel(dit, tiny_weights, None, "none")
    expected = dit.denoiser(dit.dense, {name: tiny_weights[name] for name in dit.step_weights()})(latents, **conditions)
    assert torch.equal(model.denoise(dit.dense, latents, conditions), expected)
    with pytest.raises(ScheduleError, match="needs a calibration"):
        model.denoise(PLANS[0], latents, conditions)


@pytest.mark.parametrize("mode", ["low-rank:4", "full"])
def test_a_model_moved_onto_other_memory_reads_that_alone(
    tiny_checkpoint: Checkpoint,
    tiny_weights: dict[str, Tensor],
    tiny_calibration: Calibration,
    latents: Tensor,
    mode: CompensationMode,
) -> None:
    model = PrunedModel(tiny_checkpoint.architecture, tiny_weights, tiny_calibration, mode)
    features = {"labels": torch.tensor([1, 2, 3, 10])}
    before = model.condition(torch.full((4,), 500.0), features)
    predicted = [model.denoise(plan, latents, before) for plan in PLANS]
    copies = {name: tensor.clone() for name, tensor in model.tensors.items()}
    model.move_onto({**copies, "of no model": torch.ones(1)})
    for name, condition in model.condition(torch.full((4,), 500.0), features).items():
        assert torch.equal(condition, before[name])
    for plan, expected in zip(PLANS, predicted, strict=True):
        assert torch.equal(model.denoise(plan, latents, before), expected)
        held = {tensor.untyped_storage().data_ptr() for tensor in read_by(model, plan).values()}
        assert held <= {copy.untyped_storage().data_ptr() for copy in copies.values()}
    assert "of no model" not in model.tensors


@pytest.mark.parametrize(("mode", "plan"), [("full", PLANS[1]), ("low-rank:4", PLANS[2])])
def test_every_plans_weights_are_among_those_of_the_whole_denoiser(
    models: dict[CompensationMode, PrunedModel], mode: CompensationMode, plan: StagePlan
) -> None:
    whole = {name for name, _ in models[mode].whole_denoiser().named_parameters()}
    assert {f"weights.{name}" for name in read_by(models[mode], plan)} <= whole
    assert models[mode].has_factors == mode.startswith("low-rank")
