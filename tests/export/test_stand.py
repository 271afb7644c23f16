"""The onnxruntime stand times the same computation as the torch one."""

from pathlib import Path

import pytest
import torch

from diffes.errors import BackendError, InvalidInput
from diffes.latency.stand import Subject, TorchStand
from diffes.levels import LevelGrid
from export.stand import onnxruntime_stand


@pytest.fixture(scope="module")
def subject(tiny_model_folder: Path) -> Subject:
    return Subject.open(tiny_model_folder)


def test_every_plan_computes_what_torch_does(subject: Subject) -> None:
    grid = LevelGrid.of(subject.architecture.dense)
    plans = [grid.plan(0, 0), grid.plan(1, 3), grid.plan(4, 1)]
    torch_stand = TorchStand(subject, device="cpu", batch=3, dtype="float32", threads=None)

    with onnxruntime_stand(subject, plans, device="cpu", batch=3, dtype="float32", threads=1) as stand:
        for plan in plans:
            torch.testing.assert_close(stand.step(plan)(), torch_stand.step(plan)(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("device", "dtype", "error"), [("cpu", "bfloat16", InvalidInput), ("tpu", "float32", BackendError)]
)
def test_what_onnxruntime_cannot_run_is_refused_before_anything_is_written(
    device: str, dtype: str, error: type[Exception], subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.stand.write_graphs", lambda *_: pytest.fail("wrote graphs"))
    plans = [subject.architecture.dense]
    with (
        pytest.raises(error),
        onnxruntime_stand(subject, plans, device=device, batch=1, dtype=dtype, threads=None),
    ):
        pass
