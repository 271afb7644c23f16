"""Where calibrations are kept between a search and an export."""

from collections.abc import Callable
from pathlib import Path

import torch

from diffes.checkpoint import Checkpoint
from diffes.files import cache_folder
from diffes.pruning.calibration import Calibration, CalibrationSpec, calibrate


def calibration_for(
    checkpoint: Checkpoint,
    spec: CalibrationSpec,
    *,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] = lambda _: None,
) -> Calibration:
    """The cached calibration of this model and spec, made now if there is none; `data` as for `calibrate`.

    Specs that differ in their ordering alone share a file.
    """
    digest = spec.digest(checkpoint.identity.fingerprint)
    path = cache_folder() / f"calibration-{digest}.safetensors"
    if path.exists():
        return Calibration.load(path, checkpoint, spec)
    made = calibrate(checkpoint, spec, data=data, device=device, progress=progress)
    made.save(path)
    return made
