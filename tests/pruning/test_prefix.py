import pytest
import torch
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.pruning.mode import Compensation
from diffes.pruning.prefix import Prefix, compensated_name, resolve, used_keeps
from diffes.schedule import BlockPlan

PLAN = (BlockPlan(3, 50), BlockPlan(4, 0))
MODES = NONE, BIAS, LOW, FULL = [Compensation.parse(text) for text in ("none", "bias", "low-rank:3", "full")]


@pytest.fixture(scope="module")
def rows(tiny_weights: dict[str, Tensor]) -> dict[str, int]:
    return {name: len(tensor) for name, tensor in tiny_weights.items()}


def test_a_prefix_is_a_view_of_the_first_rows() -> None:
    tensors = {"a": torch.arange(12).view(6, 2)}
    assert torch.equal(Prefix("a", 4).of(tensors), tensors["a"][:4])
    assert Prefix("a", 4).of(tensors).data_ptr() == tensors["a"].data_ptr()
    assert Prefix("a").of(tensors) is tensors["a"]


def test_a_dense_plan_reads_every_tensor_whole(tiny_checkpoint: Checkpoint, rows: dict[str, int]) -> None:
    dit = tiny_checkpoint.architecture
    for mode in MODES:
        assert resolve(dit, dit.dense, mode, rows) == {name: Prefix(name) for name in dit.step_weights()}


def test_a_plan_reads_as_many_rows_as_it_keeps(tiny_checkpoint: Checkpoint, rows: dict[str, int]) -> None:
    found = resolve(tiny_checkpoint.architecture, PLAN, NONE, rows)
    assert found["blocks.0.qkv.weight"] == Prefix("blocks.0.qkv.weight", 3 * 3 * 8)
    assert found["blocks.0.qkv.bias"] == Prefix("blocks.0.qkv.bias", 3 * 3 * 8)
    assert found["blocks.0.out.weight"] == Prefix("blocks.0.out.weight", 3 * 8)
    assert found["blocks.0.fc1.weight"] == Prefix("blocks.0.fc1.weight", 50)
    assert found["blocks.0.fc2.weight"] == Prefix("blocks.0.fc2.weight", 50)
    assert found["blocks.0.fc2.bias"] == Prefix("blocks.0.fc2.bias")
    assert found["blocks.1.qkv.weight"] == Prefix("blocks.1.qkv.weight")
    assert found["patch.weight"] == Prefix("patch.weight")


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_skipped_half_reads_its_bias_and_what_does_without_it(
    tiny_checkpoint: Checkpoint, rows: dict[str, int], mode: Compensation
) -> None:
    found = resolve(tiny_checkpoint.architecture, PLAN, mode, rows)
    factors = {"blocks.1.fc2.left", "blocks.1.fc2.right"} if mode.kind == "low-rank" else set()
    assert {name for name in found if name.startswith("blocks.1.fc")} == {"blocks.1.fc2.bias"} | factors


def test_compensated_tensors_replace_what_the_mode_corrects(tiny_checkpoint: Checkpoint, rows: dict[str, int]) -> None:
    none, bias, low, full = (resolve(tiny_checkpoint.architecture, PLAN, mode, rows) for mode in MODES)
    replaced = {name: prefix for name, prefix in bias.items() if prefix != none[name]}
    biases = {"blocks.0.out.bias": 3, "blocks.0.fc2.bias": 50, "blocks.1.fc2.bias": 0}
    assert replaced == {name: Prefix(compensated_name(name, kept)) for name, kept in biases.items()}
    factors = {name: prefix for name, prefix in low.items() if prefix != bias.get(name)}
    assert factors == {
        "blocks.0.out.left": Prefix("blocks.0.out.left"),
        "blocks.0.out.right": Prefix("blocks.0.out.right.keep3"),
        "blocks.0.fc2.left": Prefix("blocks.0.fc2.left"),
        "blocks.0.fc2.right": Prefix("blocks.0.fc2.right.keep50"),
        "blocks.1.fc2.left": Prefix("blocks.1.fc2.left"),
        "blocks.1.fc2.right": Prefix("blocks.1.fc2.right.keep0"),
    }
    replaced = {name: prefix for name, prefix in full.items() if prefix != bias[name]}
    projections = {"blocks.0.out.weight": 3, "blocks.0.fc2.weight": 50}
    assert replaced == {name: Prefix(compensated_name(name, kept)) for name, kept in projections.items()}


def test_used_keeps_are_those_below_dense_once_each(tiny_checkpoint: Checkpoint) -> None:
    dit = tiny_checkpoint.architecture
    found = used_keeps(dit, [PLAN, dit.dense, PLAN, (BlockPlan(1, 50), BlockPlan(4, 20))])
    assert list(found.values()) == [[1, 3], [50], [], [0, 20]]
