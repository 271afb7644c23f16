"""What is timed computes what is served: the torch stand against a bundle's own backend, plan by plan."""

from pathlib import Path

import pytest
import torch

from diffes.backends.torch import TorchBackend
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.errors import BackendError, BundleError, CheckpointError, InvalidInput
from diffes.latency.stand import Subject, TorchStand
from diffes.levels import LevelGrid
from diffes.rollout import seeded_noise
from diffes.schedule import StagePlan


def stand(subject: Subject, **changes: object) -> TorchStand:
    options: dict[str, object] = {"device": "cpu", "batch": 3, "dtype": "float32", "threads": None}
    return TorchStand(subject, **(options | changes))  # type: ignore[arg-type]


def test_a_model_folder_and_its_bundle_are_the_same_subject(tiny_model_folder: Path, tiny_bundle: Bundle) -> None:
    of_model, of_bundle = Subject.open(tiny_model_folder), Subject.open(tiny_bundle.folder)

    assert of_model.identity == of_bundle.identity
    assert of_model.architecture == of_bundle.architecture
    assert {n: t.shape for n, t in of_model.weights.items()} == {n: t.shape for n, t in of_bundle.weights.items()}


def test_a_bundles_steps_are_timed_on_what_its_backend_computes(tiny_bundle: Bundle) -> None:
    backend = TorchBackend(tiny_bundle)
    conditions = backend.condition(torch.full((3,), 500.0), {"labels": torch.arange(3)})
    timed = stand(Subject.open(tiny_bundle.folder))
    for plan, subgraph in tiny_bundle.subgraph_of.items():
        served = backend.denoise(subgraph, seeded_noise(range(3), (3, 8, 8)), conditions)
        torch.testing.assert_close(timed.step(plan)(), served)


def test_any_plan_can_be_timed_without_a_calibration(tiny_checkpoint: Checkpoint, tiny_model_folder: Path) -> None:
    grid = LevelGrid.of(tiny_checkpoint.architecture.dense)
    plans: list[StagePlan] = [grid.plan(heads, channels) for heads in range(5) for channels in range(5)]
    timed = stand(Subject.open(tiny_model_folder))

    outputs = [timed.step(plan)() for plan in plans]

    assert all(output.shape == (3, 3, 8, 8) for output in outputs)
    assert len({tuple(output.flatten().tolist()) for output in outputs}) == 25


def test_a_step_runs_in_the_dtype_that_is_asked_for(tiny_checkpoint: Checkpoint, tiny_model_folder: Path) -> None:
    subject, dense = Subject.open(tiny_model_folder), tiny_checkpoint.architecture.dense
    full, half = (stand(subject, dtype=dtype).step(dense)() for dtype in ("float32", "bfloat16"))

    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, atol=0.1, rtol=0.1)


def test_a_dtype_or_device_there_is_none_of_is_refused(tiny_model_folder: Path) -> None:
    subject = Subject.open(tiny_model_folder)
    with pytest.raises(InvalidInput, match="invalid dtype: expected one of float32"):
        stand(subject, dtype="int8")
    with pytest.raises(BackendError, match="torch has no such device"):
        stand(subject, device="cuda:99")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model_index\.json"):
        Subject.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BundleError):
        Subject.open(tmp_path)
