import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError
from diffes.pruning.calibration import Calibration, CalibrationSpec, calibrate
from diffes.pruning.damping import GRID, Damping
from diffes.pruning.moments import MomentAccumulator
from diffes.rollout import initial_state, seeded_noise
from diffes.sampling import advance, guide, trajectory
from diffes.schedule import Sampler


def same(first: Calibration, second: Calibration) -> bool:
    tensors = [
        (one[name], other[name])
        for one, other in (
            *((first.orderings[kind], second.orderings[kind]) for kind in first.orderings),
            (first.moments.mean, second.moments.mean),
            (first.moments.second, second.moments.second),
        )
        for name in one
    ]
    return all(torch.equal(a, b) for a, b in tensors)


def test_a_calibration_survives_its_file_exactly(
    tmp_path: Path, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration
) -> None:
    tiny_calibration.save(tmp_path / "c.safetensors")
    loaded = Calibration.load(tmp_path / "c.safetensors", tiny_checkpoint)
    assert same(loaded, tiny_calibration)
    assert loaded.spec == tiny_calibration.spec
    assert loaded.ordering_digest == tiny_calibration.ordering_digest
    assert loaded.moments.rows == tiny_calibration.moments.rows
    assert loaded.dampings == tiny_calibration.dampings
    assert loaded.fingerprint == tiny_calibration.fingerprint


def test_calibrating_twice_gives_the_same(tiny_checkpoint: Checkpoint, tiny_calibration: Calibration) -> None:
    again = calibrate(tiny_checkpoint, tiny_calibration.spec)
    assert same(again, tiny_calibration)
    other = calibrate(tiny_checkpoint, dataclasses.replace(tiny_calibration.spec, seed=1))
    assert not same(other, tiny_calibration)


def test_progress_rises_to_one(tiny_checkpoint: Checkpoint, tiny_calibration: Calibration) -> None:
    shares: list[float] = []
    calibrate(tiny_checkpoint, dataclasses.replace(tiny_calibration.spec, images=5, batch=2), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) == 3 * 4


def test_moments_are_those_of_the_dense_model_on_its_own_trajectories(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor]
) -> None:
    spec = CalibrationSpec(Sampler(class_name="DDIMScheduler", steps=4, guidance=1.5), images=4, token_share=1.0)
    dit = tiny_checkpoint.architecture
    step_names = dit.step_weights()
    denoiser = dit.denoiser(dit.dense, {name: tiny_weights[name] for name in step_names})
    condition = dit.condition({name: t for name, t in tiny_weights.items() if name not in step_names})
    taps = MomentAccumulator()
    denoiser.tap = taps  # type: ignore[assignment]
    path = trajectory("DDIMScheduler", tiny_checkpoint.scheduler_config, 4)
    latents = initial_state(path, seeded_noise([(9 << 28) + i for i in range(4)], dit.latent_shape)).latents
    clean = torch.zeros_like(latents)
    labels = torch.tensor([0, 1, 2, 3, 10, 10, 10, 10])
    for index, at in enumerate(path.steps):
        conditions = condition(torch.full((8,), float(at.timestep)), labels)
        out = guide(denoiser(torch.cat([latents, latents]), *conditions), 1.5)
        latents, clean = advance(path.coefficients[index].expand(4, -1), path.clip, latents, out, clean)
    expected, found = taps.moments(), calibrate(tiny_checkpoint, spec).moments
    assert found.rows == expected.rows == 4 * 8 * 16
    for name in expected.mean:
        torch.testing.assert_close(found.mean[name], expected.mean[name], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.second[name], expected.second[name], rtol=1e-3, atol=1e-3)


def test_a_damping_that_is_given_is_used_everywhere(tiny_checkpoint: Checkpoint, tiny_calibration: Calibration) -> None:
    given = calibrate(tiny_checkpoint, dataclasses.replace(tiny_calibration.spec, damping=0.02))
    assert set(given.dampings.values()) == {Damping(0.02, 0.02)}
    assert {value for pair in tiny_calibration.dampings.values() for value in pair} <= set(GRID)
    assert all(torch.equal(given.moments.second[n], s) for n, s in tiny_calibration.moments.second.items())


def test_another_ordering_is_chosen_from_the_same_file(
    tmp_path: Path, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration
) -> None:
    tiny_calibration.save(tmp_path / "c.safetensors")
    spec = dataclasses.replace(tiny_calibration.spec, ordering="energy")
    read = Calibration.load(tmp_path / "c.safetensors", tiny_checkpoint, spec)
    assert read.spec == spec
    assert read.ordering_digest != tiny_calibration.ordering_digest
    assert read.ordered_by("obs").ordering_digest == tiny_calibration.ordering_digest
    assert all(torch.equal(read.ordering[n], tiny_calibration.orderings["energy"][n]) for n in read.ordering)


def test_a_schedule_is_told_what_was_calibrated(tiny_calibration: Calibration) -> None:
    provenance = json.loads(json.dumps(tiny_calibration.provenance))
    assert CalibrationSpec.from_json(provenance["calibration"]) == tiny_calibration.spec
    assert provenance["ordering"] == tiny_calibration.ordering_digest
    assert provenance["damping"]["blocks.0.fc2.weight"] == list(tiny_calibration.dampings["blocks.0.fc2.weight"])


def test_ordered_moments_have_their_units_in_order(tiny_calibration: Calibration) -> None:
    name = "blocks.0.fc2.weight"
    order = tiny_calibration.ordering[name]
    moved, before = tiny_calibration.ordered_moments.mean[name], tiny_calibration.moments.mean[name]
    assert torch.equal(moved[:128], before[order])
    assert torch.equal(moved[128:], before[128:])  # the entry's


def test_a_calibration_of_another_model_is_refused(
    tmp_path: Path, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration
) -> None:
    foreign = dataclasses.replace(tiny_calibration, fingerprint="0" * 64)
    foreign.save(tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match=r"of another model.*found 0000"):
        Calibration.load(tmp_path / "c.safetensors", tiny_checkpoint, tiny_calibration.spec)


def test_a_calibration_by_another_spec_is_refused(
    tmp_path: Path, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration
) -> None:
    tiny_calibration.save(tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match="or spec"):
        Calibration.load(
            tmp_path / "c.safetensors", tiny_checkpoint, dataclasses.replace(tiny_calibration.spec, images=9)
        )


@pytest.mark.parametrize("keep", [0, 50, 3000])
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, keep: int
) -> None:
    path = tmp_path / "c.safetensors"
    tiny_calibration.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"cannot read calibration .*c\.safetensors"):
        Calibration.load(path, tiny_checkpoint, tiny_calibration.spec)


def test_a_file_without_a_layer_is_refused(
    tmp_path: Path, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration
) -> None:
    path = tmp_path / "c.safetensors"
    tiny_calibration.save(path)
    tensors = load_file(path)
    del tensors["blocks.1.fc2.weight.second"]
    fingerprint = tiny_calibration.fingerprint
    spec = json.dumps(tiny_calibration.spec.to_json())
    metadata = {
        "fingerprint": fingerprint,
        "digest": tiny_calibration.spec.digest(fingerprint),
        "rows": "256",
        "dampings": json.dumps(tiny_calibration.dampings),
        "spec": spec,
    }
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match="cannot read calibration.*blocks.1.fc2.weight.second"):
        Calibration.load(path, tiny_checkpoint, tiny_calibration.spec)
