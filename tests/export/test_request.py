from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from diffes import verification
from diffes.checkpoint import Checkpoint
from diffes.errors import BackendError, CheckpointError, ScheduleError
from diffes.levels import LevelGrid
from diffes.presets import build_schedule
from diffes.pruning import cache
from diffes.pruning.calibration import CALIBRATION_FILE, Calibration, CalibrationSpec
from diffes.pruning.mode import OrderingKind
from diffes.schedule import Sampler
from export.request import ExportRequest, run_export

SAMPLER = Sampler(class_name="DDIMScheduler", steps=4, guidance=1.5)


def searched(checkpoint: Checkpoint, calibration: Calibration, path: Path, *, ordering: str | None = None) -> Path:
    """A schedule file as a search leaves it."""
    plan = LevelGrid.of(checkpoint.architecture.dense).plan(1, 2)
    provenance: dict[str, JsonValue] = {
        "calibration": calibration.spec.to_json(),
        "ordering": ordering or calibration.ordering_digest,
    }
    build_schedule(checkpoint, SAMPLER, [plan] * 2, "full", provenance).save(path)
    return path


@pytest.fixture
def request_for(tiny_model_folder: Path, tmp_path: Path) -> ExportRequest:
    return ExportRequest(tiny_model_folder, (), tmp_path / "bundle", steps=4, stages=2, calibration_images=4)


@pytest.fixture
def no_calibrating(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("calibrated although there was no need")

    monkeypatch.setattr(cache, "calibrate", fail)


@pytest.mark.usefixtures("no_calibrating")
def test_the_dense_model_needs_no_calibration(request_for: ExportRequest) -> None:
    bundle = run_export(replace(request_for, schedules=("dense",)))

    assert list(bundle.manifest.schedules) == ["dense"]
    assert "ordering" not in bundle.manifest.created_with


@pytest.mark.usefixtures("no_calibrating")
def test_the_calibration_beside_a_schedule_is_used(
    request_for: ExportRequest, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    file = searched(tiny_checkpoint, tiny_calibration, tmp_path / "schedule.json")
    tiny_calibration.save(tmp_path / CALIBRATION_FILE)

    bundle = run_export(replace(request_for, schedules=(f"fast={file}",)))

    assert bundle.default == "fast"
    assert bundle.manifest.created_with["ordering"] == tiny_calibration.ordering_digest


def test_without_one_the_calibration_is_made_again_as_the_search_made_it(
    request_for: ExportRequest, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    file = searched(tiny_checkpoint, tiny_calibration, tmp_path / "schedule.json")

    bundle = run_export(replace(request_for, schedules=(str(file),)))

    assert bundle.manifest.created_with["ordering"] == tiny_calibration.ordering_digest


def test_a_schedule_searched_on_another_ordering_is_refused(
    request_for: ExportRequest, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    file = searched(tiny_checkpoint, tiny_calibration, tmp_path / "schedule.json", ordering="0" * 16)
    tiny_calibration.save(tmp_path / CALIBRATION_FILE)

    with pytest.raises(ScheduleError, match=f"expected ordering 0000.*{CALIBRATION_FILE}"):
        run_export(replace(request_for, schedules=(str(file),)))
    assert not request_for.out.exists()


def test_schedules_of_two_calibrations_cannot_share_a_blob(
    request_for: ExportRequest, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    other = replace(tiny_calibration, spec=CalibrationSpec(SAMPLER, images=3))
    files = [
        searched(tiny_checkpoint, tiny_calibration, tmp_path / "a.json"),
        searched(tiny_checkpoint, other, tmp_path / "b.json"),
    ]

    with pytest.raises(ScheduleError, match="share one ordering.*a: 8 images, seed 0, b: 3 images"):
        run_export(replace(request_for, schedules=tuple(map(str, files))))


def test_a_calibration_that_is_not_there_is_named(request_for: ExportRequest, tmp_path: Path) -> None:
    asked = replace(request_for, schedules=("uniform:0.5",), calibration=tmp_path / "lost.safetensors")

    with pytest.raises(CheckpointError, match=r"lost\.safetensors"):
        run_export(asked)


@pytest.mark.parametrize(
    ("compensation", "kind"), [("none", "energy"), ("bias", "variance"), ("low-rank:2", "obs"), ("full", "obs")]
)
def test_what_was_not_searched_is_ordered_as_suits_its_compensation(
    request_for: ExportRequest, tiny_calibration: Calibration, tmp_path: Path, compensation: str, kind: OrderingKind
) -> None:
    tiny_calibration.save(tmp_path / "c.safetensors")
    asked = replace(
        request_for, schedules=("uniform:0.5",), compensation=compensation, calibration=tmp_path / "c.safetensors"
    )

    bundle = run_export(asked)

    assert bundle.manifest.created_with["ordering"] == tiny_calibration.ordered_by(kind).ordering_digest


def test_a_searched_schedule_keeps_its_ordering_under_another_compensation(
    request_for: ExportRequest, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    file = searched(tiny_checkpoint, tiny_calibration, tmp_path / "schedule.json")
    tiny_calibration.save(tmp_path / CALIBRATION_FILE)

    bundle = run_export(replace(request_for, schedules=(str(file),), compensation="none"))

    assert bundle.manifest.created_with["ordering"] == tiny_calibration.ordering_digest


def test_a_bundle_that_fails_on_a_real_trajectory_does_not_appear(
    request_for: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(request_for, schedules=("dense",), verify=True)
    monkeypatch.setitem(verification.TOLERANCE, "float32", 0.0)
    with pytest.raises(BackendError, match="onnxruntime does not compute what torch computes"):
        run_export(asked)
    assert not asked.out.exists()

    monkeypatch.undo()
    assert run_export(asked).manifest.default == "dense"
