"""A bundle computes what the model computes, holds every weight once, and is whole or absent."""

from pathlib import Path

import onnx
import pytest
import torch

from diffes.backends import LOCAL_BACKENDS, open_backend
from diffes.blob import ALIGNMENT
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.errors import ScheduleError
from diffes.graphs import external_range
from diffes.inspection import inspect
from diffes.presets import dense_schedule
from diffes.pruning.calibration import Calibration
from diffes.pruning.cost import plan_macs, plan_weight_bytes
from diffes.pruning.mode import Compensation
from diffes.pruning.model import PrunedModel
from diffes.rollout import seeded_noise
from export.job import export_bundle
from tests.bundles import SAMPLER, export, levels_schedule


def test_every_weight_of_every_graph_lies_in_the_one_blob(tiny_bundle: Bundle) -> None:
    blob = tiny_bundle.folder / tiny_bundle.manifest.blob.file
    names = set()
    for graph in tiny_bundle.manifest.graphs:
        model = onnx.load(tiny_bundle.folder / graph.file, load_external_data=False)
        external = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
        assert {external_range(tensor)[0] for tensor in external} == {blob.name}
        names |= {tensor.name.removeprefix("weights.") for tensor in external}
        assert (tiny_bundle.folder / graph.file).stat().st_size < 60_000
    assert names == set(tiny_bundle.blob)


def test_ten_stages_without_compensation_take_the_dense_models_memory(tiny_bundle: Bundle) -> None:
    assert len(tiny_bundle.manifest.subgraphs) == 9  # the dense schedule and two stages share one
    assert inspect(tiny_bundle).memory_ratio <= 1.01
    assert tiny_bundle.manifest.blob.bytes <= 1.10 * tiny_bundle.manifest.blob.dense_bytes  # header and alignment


def test_the_blob_holds_the_ordered_weights_unchanged(
    tiny_bundle: Bundle, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration
) -> None:
    state = tiny_checkpoint.architecture.convert(tiny_checkpoint.denoiser_state())
    model = PrunedModel(tiny_checkpoint.architecture, state, tiny_calibration, "none")
    assert set(tiny_bundle.blob) == set(model.tensors)
    for name, tensor in model.tensors.items():
        assert torch.equal(tiny_bundle.blob[name], tensor)


def test_compensated_tensors_are_stored_once_per_layer_and_kept_width(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    bundle = export(tiny_checkpoint, [(1, 1), (1, 2), (2, 1)], tiny_calibration, tmp_path / "b", "full")
    extra = {name for name in bundle.blob if ".keep" in name}
    layers, widths, projection_and_bias = 4, 2, 2
    assert len(extra) == layers * widths * projection_and_bias
    assert inspect(bundle).memory_ratio > 1


LEVELS = [(1, 1), (1, 2), (4, 1), (2, 4), (0, 3)]


@pytest.mark.parametrize("rank", [3, 5, 40])  # one traced graph serves every rank; 40 is wider than the model
def test_low_rank_bundles_store_one_left_factor_a_layer_and_a_right_one_a_kept_width(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path, rank: int
) -> None:
    bundle = export(tiny_checkpoint, LEVELS, tiny_calibration, tmp_path / "b", f"low-rank:{rank}")  # and verify it
    layers, head_widths, channel_widths = 4, 3, 4
    stored = {side: {n for n in bundle.blob if f".{side}" in n} for side in ("left", "right")}
    assert len(stored["left"]) == layers
    assert len(stored["right"]) == layers // 2 * (head_widths + channel_widths)
    assert {bundle.blob.entries[name].shape for name in stored["left"]} == {(32, min(rank, 32))}
    assert {bundle.blob.entries[name].offset % ALIGNMENT for name in stored["left"] | stored["right"]} == {0}


@pytest.mark.parametrize("name", LOCAL_BACKENDS)
def test_every_backend_runs_a_low_rank_bundle_as_the_model_in_memory_does(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path, name: str
) -> None:
    bundle = export(tiny_checkpoint, LEVELS, tiny_calibration, tmp_path / "b", "low-rank:3")
    state = tiny_checkpoint.architecture.convert(tiny_checkpoint.denoiser_state())
    model = PrunedModel(tiny_checkpoint.architecture, state, tiny_calibration, "low-rank:3")
    backend = open_backend(name, bundle, "cpu", 1)
    latents = seeded_noise(range(4), (3, 8, 8))
    conditions = backend.condition(torch.tensor([3.0, 300.0, 600.0, 900.0]), {"labels": torch.tensor([0, 4, 9, 10])})
    for subgraph in bundle.manifest.subgraphs:
        found = backend.denoise(subgraph.id, latents, conditions)
        expected = model.denoise(subgraph.plan, latents, conditions)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max().clamp_min(1)))
    backend.close()


def test_what_is_inspected_counts_the_factors(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    bundle = export(tiny_checkpoint, LEVELS, tiny_calibration, tmp_path / "b", "low-rank:3")
    mode, dit, found = Compensation("low-rank", 3), tiny_checkpoint.architecture, inspect(bundle)
    for stage, plan in zip(found.stages, (stage.blocks for stage in bundle.schedule().stages), strict=True):
        assert stage.macs == plan_macs(dit, plan, mode) > dit.macs(plan)
    weights = {subgraph.id: subgraph.weight_bytes for subgraph in found.subgraphs}
    for subgraph in bundle.manifest.subgraphs:
        assert weights[subgraph.id] == plan_weight_bytes(dit, subgraph.plan, mode)


def test_a_half_that_is_skipped_is_not_in_the_graph(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    bundle = export(tiny_checkpoint, [(4, 2)], tiny_calibration, tmp_path / "b", "bias")
    headless = next(subgraph for subgraph in bundle.manifest.subgraphs if subgraph.plan[0].heads == 0)
    model = onnx.load(bundle.folder / headless.file, load_external_data=False)
    assert not any(node.op_type == "Attention" for node in model.graph.node)
    assert not any("qkv" in name or "out.weight" in name for name in headless.prefixes)
    assert headless.prefixes["weights.blocks.0.out.bias"].tensor == "blocks.0.out.bias.keep0"


def test_a_dense_export_needs_no_calibration(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    schedule = dense_schedule(tiny_checkpoint, SAMPLER)
    seen: list[tuple[str, float]] = []
    bundle = export_bundle(
        tiny_checkpoint,
        {"dense": schedule},
        "dense",
        None,
        tmp_path / "b",
        progress=lambda phase, share: seen.append((phase, share)),
    )
    assert list(bundle.manifest.schedules) == ["dense"]
    assert inspect(bundle).macs_removed == 0
    assert Bundle.open(tmp_path / "b").manifest == bundle.manifest
    assert seen == [(f"writing {what}", share) for what in ("graphs", "networks") for share in (0.5, 1.0)]


class TestRefusals:
    """Nothing is traced before the schedules are found to fit."""

    def test_a_pruned_schedule_without_a_calibration(self, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
        schedule = levels_schedule(tiny_checkpoint, [(1, 1)])
        with pytest.raises(ScheduleError, match="needs a calibration"):
            export_bundle(tiny_checkpoint, {"a": schedule}, "a", None, tmp_path / "b")
        assert not list(tmp_path.iterdir())

    def test_a_schedule_for_another_model(
        self, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
    ) -> None:
        schedule = levels_schedule(tiny_checkpoint, [(1, 1)])
        foreign = schedule.model_copy(update={"model": schedule.model.model_copy(update={"fingerprint": "e" * 64})})
        with pytest.raises(ScheduleError, match=f"expected.*{tiny_checkpoint.identity.fingerprint[:16]}.*{'e' * 16}"):
            export_bundle(tiny_checkpoint, {"a": foreign}, "a", tiny_calibration, tmp_path / "b")

    def test_a_schedule_searched_with_another_ordering(
        self, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
    ) -> None:
        schedule = levels_schedule(tiny_checkpoint, [(1, 1)])
        foreign = schedule.model_copy(update={"provenance": {"ordering": "0" * 16}})
        with pytest.raises(ScheduleError, match=f"{'0' * 16}.*{tiny_calibration.ordering_digest}"):
            export_bundle(tiny_checkpoint, {"a": foreign}, "a", tiny_calibration, tmp_path / "b")

    def test_two_compensations_over_one_blob(
        self, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
    ) -> None:
        schedules = {mode: levels_schedule(tiny_checkpoint, [(1, 1)], mode) for mode in ("none", "full")}
        with pytest.raises(ScheduleError, match=r"none \(none\), full \(full\)"):
            export_bundle(tiny_checkpoint, schedules, "full", tiny_calibration, tmp_path / "b")

    def test_the_name_dense_for_a_pruned_schedule(
        self, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
    ) -> None:
        schedules = {"dense": levels_schedule(tiny_checkpoint, [(1, 1)])}
        with pytest.raises(ScheduleError, match="the name dense"):
            export_bundle(tiny_checkpoint, schedules, "dense", tiny_calibration, tmp_path / "b")

    def test_a_default_that_is_not_given(self, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
        with pytest.raises(ScheduleError, match="expected one of a, found b"):
            export_bundle(tiny_checkpoint, {"a": dense_schedule(tiny_checkpoint, SAMPLER)}, "b", None, tmp_path / "b")
