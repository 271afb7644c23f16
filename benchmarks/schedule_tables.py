"""Tables of what `schedule_quality.py` measured: where moments come from, how much guidance to use, and the bundled
text-to-image model.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tables import MISSING, markdown

MOMENTS = ("moments_trajectories.json", "moments_data.json")
GUIDANCE = "guidance.json"
TEXTS = "texts.json"


def moments_table(folder: Path) -> str:
    """The same schedules compensated by moments of the model's own trajectories, and of noised data."""
    heads = ["moments of", "schedule", "images", "FD to dense", "FD to data", "class accuracy", "MSE"]
    rows = [
        [
            study["moments"],
            row["schedule"],
            str(study["calibration_images"]),
            f"{row['frechet_distance']:.2f}",
            f"{row['frechet_to_data']:.2f}",
            f"{row['class_accuracy']:.4f}",
            f"{row['mse']:.5f}",
        ]
        for study in _studies(folder / name for name in MOMENTS)
        for row in study["rows"]
    ]
    return markdown(heads, rows or [[MISSING] * len(heads)])


def guidance_table(folder: Path) -> str:
    """The dense model and a pruned one under the same guidances, each against the data."""
    heads = ["guidance", "FD to data, dense", "pruned", "class accuracy, dense", "pruned", "FD to dense"]
    rows = [
        [
            f"{row['guidance']:g}",
            f"{row['reference_frechet_to_data']:.2f}",
            f"{row['frechet_to_data']:.2f}",
            f"{row['reference_class_accuracy']:.4f}",
            f"{row['class_accuracy']:.4f}",
            f"{row['frechet_distance']:.2f}",
        ]
        for study in _studies([folder / GUIDANCE])
        for row in sorted(study["rows"], key=lambda row: row["guidance"])
    ]
    return markdown(heads, rows or [[MISSING] * len(heads)])


def texts_table(folder: Path) -> str:
    """Schedules of the text-to-image model, each against its dense self; the first row is that one's."""
    heads = ["schedule", "MACs removed", "FD to dense", "FD to data", "text agreement", "SSIM", "MSE"]
    rows = []
    for study in _studies([folder / TEXTS]):
        dense = study["rows"][0]
        rows.append(
            [
                "dense",
                "0",
                "0",
                f"{dense['reference_frechet_to_data']:.2f}",
                f"{dense['reference_class_accuracy']:.4f}",
                "1",
                "0",
            ]
        )
        rows += [
            [
                row["schedule"],
                f"{row['macs_removed']:.1%}",
                f"{row['frechet_distance']:.2f}",
                f"{row['frechet_to_data']:.2f}",
                f"{row['class_accuracy']:.4f}",
                f"{row['ssim']:.4f}",
                f"{row['mse']:.5f}",
            ]
            for row in study["rows"]
        ]
    return markdown(heads, rows or [[MISSING] * len(heads)])


def _studies(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in paths if path.exists()]
